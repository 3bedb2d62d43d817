"""An evaluation as files: `<label>.json` with the figures, and beside it one line a pair and one line a reply."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simpo.errors import RecipeError
from simpo.runs.folder import read_json, storage_errors, write_json, write_json_lines

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model measured on one data set.

    report: the contents of `<label>.json`. pairs: the lines of `<label>.pairs.jsonl`, in the order of the data.
    replies: the lines of `<label>.replies.jsonl`, one for each prompt, empty where nothing was generated. regression:
    the lines of `<label>.regression.jsonl`, one for each question of each set.
    """

    report: dict[str, Any]
    pairs: tuple[dict[str, Any], ...]
    replies: tuple[dict[str, Any], ...]
    regression: tuple[dict[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """What this evaluation is called: `before`, `after`, or as the user named it."""
        return str(self.report["label"])


def check_label(label: str) -> str:
    """The label, if it can be part of a file name on any system; RecipeError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", label):
        raise RecipeError(f"label {label!r} must be letters, digits, dashes, dots and underscores")
    return label


def write_evaluation(path: Path, evaluation: Evaluation) -> Path:
    """Write its files and return the JSON's path; `path` is a `.json` file or the folder to put it in.

    Each file is written atomically, the JSON last: where it exists, it is whole and its lines are there.
    """
    file = path if path.suffix == ".json" else path / f"{evaluation.label}.json"
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json_lines(_beside(file, "pairs"), list(evaluation.pairs))
        for rows, lines in (("replies", evaluation.replies), ("regression", evaluation.regression)):
            if lines:
                write_json_lines(_beside(file, rows), list(lines))
            else:  # those of an earlier evaluation under this label are not this one's
                _beside(file, rows).unlink(missing_ok=True)
        write_json(file, evaluation.report)
    return file


def read_evaluation(file: Path) -> Evaluation:
    """Read what `write_evaluation` wrote. Raises RecipeError naming the file that is missing or broken."""
    report = read_json(file)
    if report.get("schema") != SCHEMA or "preference" not in report:
        raise RecipeError(f"is not an evaluation of schema {SCHEMA}", where=str(file))
    written = [_beside(file, rows) for rows in ("replies", "regression")]
    replies, regression = (_read_lines(path) if path.exists() else () for path in written)
    return Evaluation(report, _read_lines(_beside(file, "pairs")), replies, regression)


def _beside(file: Path, rows: str) -> Path:
    return file.with_name(f"{file.name.removesuffix('.json')}.{rows}.jsonl")


def _read_lines(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        with path.open(encoding="utf-8") as file:  # by line feeds alone: a reply may hold U+2028
            return tuple(json.loads(line) for line in file)
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot be read: {error}", where=str(path)) from error
