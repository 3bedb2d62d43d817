"""Whether to cut over, and to what: words from a comparison's figures, by the thresholds in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simpo.study.compare.grounds import THRESHOLDS, Edge, Figures, Json
from simpo.study.compare.plan import BASE

Strength = Literal["clear", "leaning", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do. choice: a method's id, or None to keep what there is.

    reasons and doubts are whole sentences: figures in which the candidate is ahead, and those in which it is not, with
    what these figures cannot say.
    """

    choice: str | None
    strength: Strength
    headline: str
    paragraph: str
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The `verdict` section of a comparison."""
        return {
            "choice": self.choice,
            "strength": self.strength,
            "headline": self.headline,
            "paragraph": self.paragraph,
            "for": list(self.reasons),
            "against": list(self.doubts),
            "thresholds": dict(THRESHOLDS),
        }


def judge_comparison(comparison: Json) -> Verdict:
    """The verdict of a comparison's figures, all sections but this one.

    The candidate is the method with the highest win rate against the starting model, or without a judge the highest
    accuracy under its own reward; where another one is not clearly behind it and less got worse with that, that one.
    It is chosen where it beats the starting model clearly (its interval excludes none); `clear` where a judge read the
    replies, it also beats every other method clearly, no other figure says clearly otherwise, and nothing
    got clearly worse than it was.
    """
    figures = Figures(comparison)
    best = figures.candidate()
    others = [id_ for id_ in figures.ids if id_ != best]
    beats_start, start = figures.against(best, BASE), figures.start(best)
    ahead, behind = _both([figures.sides(best, other) for other in others])
    cheaper, dearer = _both([figures.price(best, other) for other in others])
    harm = figures.harm(best)
    doubts = [*harm, *behind, *dearer, *figures.limits(best)]
    if beats_start.clearly <= 0:
        return _keep(figures, best, beats_start, [start, *doubts])
    edges = [figures.against(best, other) for other in others]
    gentler = all(len(harm) < len(figures.harm(other)) for other in others)
    strength: Strength = "undecided"
    contradicted = any(figures.contradicted(best, other) for other in others)
    if figures.judged and not harm and not contradicted and all(edge.clearly > 0 for edge in edges):
        strength = "clear"
    elif gentler or (all(edge.value > 0 for edge in edges) and any(edge.clearly > 0 for edge in edges)):
        strength = "leaning"
    by_harm = gentler and not any(edge.clearly > 0 for edge in edges)
    headline = _headline(figures, best, others, strength, by_harm=by_harm)
    reasons = [start, *ahead, *cheaper]
    if by_harm:
        reasons += [f"With {figures.label(other)}: {' '.join(figures.harm(other))}" for other in others]
    against = f"Against it: {' '.join(doubts)}" if doubts else "Nothing in the figures speaks against it."
    return Verdict(
        best, strength, headline, " ".join([f"{headline}.", *reasons, against]), tuple(reasons), tuple(doubts)
    )


def _both(sides: Sequence[tuple[list[str], list[str]]]) -> tuple[list[str], list[str]]:
    """Sentences for and sentences against, of all the other methods."""
    return [each for side in sides for each in side[0]], [each for side in sides for each in side[1]]


def _headline(
    figures: Figures, best: str, others: Sequence[str], strength: Strength, *, by_harm: bool
) -> str:
    name, rest = figures.label(best), " and ".join(figures.label(other) for other in others)
    if strength == "clear":
        return f"Cut over to {name}: it is better than the starting model and than {rest}"
    if by_harm:
        return f"{name} rather than {rest}: these figures do not tell which is better, but less got worse with {name}"
    if strength == "leaning":
        return f"{name} is ahead of {rest}, but read what speaks against it before you cut over"
    return f"{name} is better than the starting model; between it and {rest} these figures do not decide"


def _keep(figures: Figures, best: str, edge: Edge, doubts: Sequence[str]) -> Verdict:
    name = figures.label(best)
    if edge.clearly < 0:
        headline = f"Do not cut over: even {name}, the best of these, is worse than the starting model"
        strength: Strength = "clear"
    else:
        headline = (
            f"Do not cut over yet: {name}, the best of these, is not clearly better than the starting model"
        )
        strength = "undecided"
    return Verdict(None, strength, headline, " ".join([f"{headline}.", *doubts]), (), tuple(doubts))
