"""A judge is a Python function of the user's that scores a reply; here it is loaded, called, checked and compared."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import inspect
import math
import numbers
import os
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from simpo.core.intervals import Interval, cluster_bootstrap, share_interval
from simpo.core.metrics import pair_wins
from simpo.errors import RecipeError, RunFailed
from simpo.records import Row

JudgeFunction = Callable[[list[dict[str, str]], str, dict[str, Any]], Any]

_KEYS = ("score", "parts", "escalates")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one reply: a finite score (higher is better), named parts, and whether it escalates."""

    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    escalates: bool | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """A loaded judge. name: `module:function`; hash: sha256 of the file it was loaded from, None where it has none."""

    name: str
    function: JudgeFunction
    hash: str | None = None

    def __call__(self, row: Row, reply: str) -> Verdict:
        """Score a reply to the row's prompt; the function gets prompt, reply and the row's other columns.

        Raises RunFailed naming the row where the function raises or returns what is no verdict.
        """
        prompt = [message.as_dict() for message in row.prompt]
        columns = {**row.extra, "category": row.category}
        try:
            answer = self.function(prompt, reply, columns)
        except Exception as error:
            raise RunFailed(
                f"the judge {self.name} raised {type(error).__name__}: {error}", where=str(row.source)
            ) from error
        try:
            return read_verdict(answer)
        except ValueError as error:
            raise RunFailed(
                f"the judge {self.name} returned {answer!r}: {error}",
                where=str(row.source),
                fix='return a finite number, or {"score": number, "parts": {name: number}, "escalates": bool}',
            ) from None


def read_verdict(answer: object) -> Verdict:
    """A judge's answer: a number, or a mapping of score, parts and escalates. Raises ValueError for anything else."""
    if not isinstance(answer, Mapping):
        return Verdict(_finite("score", answer))
    unknown = [key for key in answer if key not in _KEYS]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    if "score" not in answer:
        raise ValueError("score is missing")
    parts = answer.get("parts") or {}
    if not isinstance(parts, Mapping):
        raise ValueError("parts is no mapping")
    escalates = answer.get("escalates")
    if escalates is not None and not isinstance(escalates, (bool, np.bool_)):
        raise ValueError("escalates is neither true nor false")
    return Verdict(
        _finite("score", answer["score"]),
        {str(name): _finite(f"part {name}", value) for name, value in parts.items()},
        None if escalates is None else bool(escalates),
    )


def load_judge(spec: str) -> Judge:
    """Import `module:function`; modules in the current folder are found first.

    Raises RecipeError where the module or the function does not exist, or the module cannot be imported.
    """
    module_name, _, function_name = spec.partition(":")
    if not module_name or not function_name:
        raise RecipeError(
            f"judge {spec!r} is not of the form module:function", fix="for example my_judge:score"
        )
    module = _import(module_name, spec)
    function = getattr(module, function_name, None)
    if function is None:
        near = difflib.get_close_matches(function_name, dir(module), n=1)
        hint = (
            f"did you mean {module_name}:{near[0]}?" if near else f"define {function_name} in {module_name}"
        )
        raise RecipeError(f"judge {spec!r}: {module_name} has no {function_name}", fix=hint)
    if not callable(function):
        raise RecipeError(f"judge {spec!r}: {function_name} is a {type(function).__name__}, not a function")
    return Judge(spec, function, _source_hash(module))


@dataclass(frozen=True, slots=True)
class JudgeFigures:
    """A judge's verdicts on replies in figures.

    mean: with a 95 % bootstrap interval over prompts. parts: mean of each part over the replies that have it.
    escalation_rate: share of the replies that escalate, over those of which the judge said; None where it never did.
    """

    name: str
    mean: Interval
    parts: Mapping[str, float]
    escalation_rate: float | None
    hash: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The `judge` section of an evaluation file."""
        return {
            "name": self.name,
            "hash": self.hash,
            "mean": self.mean.to_json(),
            "parts": dict(self.parts),
            "escalation_rate": self.escalation_rate,
        }


def summarise_verdicts(
    judge: Judge, verdicts: Sequence[Verdict], prompt_ids: Sequence[Hashable], *, seed: int = 0
) -> JudgeFigures:
    """Means over replies [N] to the prompts named by `prompt_ids` [N]. Raises ValueError for no verdicts."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict.parts)
    parts = {
        name: float(np.mean([verdict.parts[name] for verdict in verdicts if name in verdict.parts]))
        for name in names
    }
    escalates = [verdict.escalates for verdict in verdicts if verdict.escalates is not None]
    return JudgeFigures(
        judge.name,
        cluster_bootstrap([verdict.score for verdict in verdicts], prompt_ids, seed=seed),
        parts,
        float(np.mean(escalates)) if escalates else None,
        judge.hash,
    )


@dataclass(frozen=True, slots=True)
class WinRate:
    """Share of prompts on which one model's reply scores higher than another's, ties half, with its interval."""

    rate: Interval
    wins: int
    ties: int
    losses: int

    def to_json(self, against: str) -> dict[str, Any]:
        """The `win_rate` section of an evaluation file."""
        counts = {"wins": self.wins, "ties": self.ties, "losses": self.losses}
        return {"against": against, **self.rate.to_json(), **counts}


def win_rate(
    scores: Sequence[float], other_scores: Sequence[float], prompt_ids: Sequence[Hashable], *, seed: int = 0
) -> WinRate:
    """Compare two models' scores [N] on the same prompts. Raises ValueError for no or for non-finite scores."""
    wins = pair_wins(scores, other_scores)
    rate = share_interval(wins, prompt_ids, seed=seed)
    return WinRate(rate, int((wins == 1).sum()), int((wins == 0.5).sum()), int((wins == 0).sum()))


def _finite(what: str, value: object) -> float:
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{what} is not a finite number")
    return float(value)


def _import(module_name: str, spec: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name == missing or module_name.startswith(f"{missing}."):
            raise RecipeError(
                f"judge {spec!r}: there is no module {missing}",
                fix=f"run in the folder that holds it (now {here})",
            ) from None
        raise RecipeError(
            f"judge {spec!r}: {module_name} imports {missing}, which is not installed"
        ) from error
    except Exception as error:  # the user's own module, running its own code
        raise RecipeError(
            f"judge {spec!r}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error


def _source_hash(module: object) -> str | None:
    try:
        file = inspect.getsourcefile(module)  # type: ignore[arg-type]
    except TypeError:
        return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else None
