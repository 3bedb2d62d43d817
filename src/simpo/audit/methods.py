"""Which way of training suits the data: one line each, from the figures of the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simpo.audit.findings import Finding
from simpo.audit.kinds import percent
from simpo.audit.limits import LIMITS


@dataclass(frozen=True, slots=True)
class Method:
    """Whether a way of training suits the data (None: the data cannot tell), with the figure that says so."""

    method: str
    suits: bool | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The advice as audit.json has it."""
        return {"method": self.method, "suits": self.suits, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class _Length:
    """What the data says of length: the share of pairs whose longer reply is chosen, if known, and in words."""

    longer: float | None

    @property
    def skewed(self) -> bool:
        return self.longer is not None and abs(self.longer - 0.5) >= LIMITS["length_skew"].value

    def __str__(self) -> str:
        if self.longer is None:
            return "The lengths of the replies tell nothing"
        side, share = ("longer", self.longer) if self.longer >= 0.5 else ("shorter", 1 - self.longer)
        return f"The {side} reply is chosen in {percent(share)} of the pairs"


def suited(findings: Sequence[Finding], pairs: int, prompts: int) -> tuple[Method, ...]:
    """Which way of training suits `pairs` pairs of `prompts` prompts, each with its reason."""
    by_kind = {finding.kind: finding for finding in findings}
    length = _Length(_figure(by_kind, "length_bias", "chosen_longer"))
    return (
        _simpo(length),
        _dpo(length, pairs),
        _dpo_norm(length),
        _collect_more(by_kind, prompts),
        _rollouts(by_kind, pairs),
        _rlhf(by_kind, pairs),
    )


def _simpo(length: _Length) -> Method:
    if length.skewed:
        return Method("simpo", True, f"{length}; a reward that is a mean over tokens gives length no credit.")
    return Method("simpo", True, f"{length}; it needs the least memory, as there is no reference model.")


def _dpo(length: _Length, pairs: int) -> Method:
    gold = LIMITS["small_gold_set"]
    if pairs < gold.value:
        skew = f"; but {_lower(str(length))}: watch reply lengths" if length.skewed else ""
        return Method("dpo", True, f"{_count(pairs, 'pair')}: {gold.why}{skew}.")
    if length.skewed:
        return Method("dpo", False, f"{length}; a reward that sums over tokens learns the length first.")
    return Method(
        "dpo", None, "Where the drift from the reference must stay small, which the data cannot tell."
    )


def _dpo_norm(length: _Length) -> Method:
    if length.skewed:
        return Method(
            "dpo-norm", True, f"{length}; its reward is a mean too, held by a reference: compare the two."
        )
    return Method(
        "dpo-norm",
        None,
        "A mean over tokens as in SimPO, held by a reference: compare the two on these pairs.",
    )


def _collect_more(by_kind: Mapping[str, Finding], prompts: int) -> Method:
    few, alpha = LIMITS["few_prompts"], _figure(by_kind, "agreement", "alpha")
    if prompts < few.value:
        return Method("collect more", True, f"{_count(prompts, 'prompt')}: {few.why}.")
    if alpha is not None and alpha < LIMITS["low_alpha"].value:
        return Method(
            "collect more", True, f"Krippendorff's alpha is {alpha:.2f}: {LIMITS['low_alpha'].why}."
        )
    return Method("collect more", False, f"{_count(prompts, 'prompt')} are enough to begin with.")


def _rollouts(by_kind: Mapping[str, Finding], pairs: int) -> Method:
    finding = by_kind.get("verifiable_answers")
    share = finding.count / pairs if finding and pairs else 0.0
    enough = share >= LIMITS["verifiable"].value
    reason = f"A program could check the answer in {percent(share)} of the pairs"
    return Method(
        "rollouts (GRPO)", enough, f"{reason}: {LIMITS['verifiable'].why}." if enough else f"{reason}."
    )


def _rlhf(by_kind: Mapping[str, Finding], pairs: int) -> Method:
    scored = by_kind.get("scored_pairs")
    if scored is None or not pairs:
        return Method(
            "RLHF", None, "Needs a reward model whose scores are calibrated; these rows carry no scores."
        )
    return Method(
        "RLHF",
        None,
        f"{percent(scored.count / pairs)} of the pairs carry scores to fit a reward model to; "
        "it suits if that model's scores are calibrated, which needs people to check.",
    )


def _figure(by_kind: Mapping[str, Finding], kind: str, name: str) -> float | None:
    """The value of an interval among a finding's figures, where there is one."""
    finding = by_kind.get(kind)
    figure = finding.figures.get(name) if finding else None
    return figure["value"] if isinstance(figure, Mapping) else None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
