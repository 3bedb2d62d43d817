"""Which repairs are made: from the words of a recipe and the findings of an audit to what happens to each pair."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from simpo.audit.described import DESCRIBED
from simpo.audit.findings import Finding, Repair
from simpo.audit.mend import mend
from simpo.audit.verdict import JUDGEMENTS
from simpo.data.reasons import REASONS
from simpo.records import Pair

Action = Literal["drop", "swap", "mend", "keep"]
ACTIONS: tuple[Action, ...] = get_args(Action)

# Found anew among the pairs that are kept, so that what stays does not depend on the order of the rows.
COPIES = ("exact_duplicate", "normalised_duplicate", "near_duplicate")
# Guesses: a label is turned round, or a pair dropped for what other pairs teach, only where somebody says so.
_ASKED_FOR = frozenset({"suspected_flip"})
_NEEDS_A_MODEL = frozenset({"unrenderable"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the words of a recipe ask for: what the audit advises or not, and kinds named with their action."""

    advised: bool
    named: Mapping[str, Action]

    def actions(self, findings: Sequence[Finding]) -> dict[str, Action]:
        """The action for each kind, now that it is known what was found.

        Advised are the repairs of errors and warnings, which are those that the audit's verdict lists, and of copies
        however few; but no swaps: a label is turned round, and a suspected one dropped, only where somebody says so.
        """
        advised: dict[str, Action] = {COPIES[0]: "drop"}
        for finding in findings:
            if finding.kind in JUDGEMENTS or (finding.severity == "note" and finding.kind not in COPIES):
                continue
            if finding.repair in ("drop", "mend"):
                advised[finding.kind] = finding.repair
        merged = {**(advised if self.advised else {}), **self.named}
        return {kind: action for kind, action in merged.items() if action != "keep"}


def is_guess(finding: Finding) -> bool:
    """Whether a repair is made only where somebody asks for it: it turns labels round, or trusts a score of texts."""
    return finding.repair == "swap" or finding.kind in _ASKED_FOR


def repairable() -> dict[str, Repair]:
    """Every kind of finding that a build can repair, and what it does about it unless told otherwise."""
    return {
        kind: about.repair
        for kind, about in DESCRIBED.items()
        if about.repair is not None and kind not in REASONS and kind not in _NEEDS_A_MODEL
    }


def wanted_repairs(words: Sequence[str]) -> Wanted:
    """What the words of a recipe ask for, the later winning; ValueError for a word that means nothing."""
    known = repairable()
    advised = False
    named: dict[str, Action] = {}
    for word in words:
        kind, equals, action = word.partition("=")
        if word in ("none", "default"):
            advised = word == "default"
            named = {} if word == "none" else named
        elif kind not in known:
            raise ValueError(_unknown(kind, known))
        else:
            named[kind] = _action(kind, action, known[kind]) if equals else known[kind]
    return Wanted(advised, named)


def _action(kind: str, word: str, usual: Repair) -> Action:
    for action in ACTIONS:
        if word == action:
            break
    else:
        raise ValueError(f"{kind}={word}: a repair is one of {', '.join(ACTIONS)}")
    if (action == "mend" and usual != "mend") or (kind in COPIES and action == "swap"):
        raise ValueError(f"{kind} cannot be repaired by {action}")
    return action


def _unknown(kind: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(kind, [*known, "default", "none"], n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; the kinds are {', '.join(sorted(known))}"
    return f"there is no repair of {kind!r}{hint}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to which pairs, by their number in reading order: (kind, action) in the order of the findings."""

    steps: Mapping[int, Sequence[tuple[str, Action]]] = field(default_factory=dict)


def plan_repairs(findings: Iterable[Finding], wanted: Mapping[str, Action]) -> Plan:
    """The repairs of the wanted kinds on the pairs that the findings name; copies are found anew after them."""
    steps: dict[int, list[tuple[str, Action]]] = {}
    for finding in findings:
        action = wanted.get(finding.kind)
        if action is not None and finding.kind not in COPIES:
            for number in finding.rows.tolist():
                steps.setdefault(number, []).append((finding.kind, action))
    return Plan(steps)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of one pair: `pair` is None where it was dropped. done: the repairs made, (kind, action, detail)."""

    pair: Pair | None
    done: tuple[tuple[str, Action, str], ...]


def apply(steps: Sequence[tuple[str, Action]], pair: Pair) -> Repaired:
    """Repair one pair: one reason to drop it is enough; else it is mended, then swapped once if anything asks so."""
    for kind, action in steps:
        if action == "drop":
            return Repaired(None, ((kind, "drop", ""),))
    done: list[tuple[str, Action, str]] = []
    now = pair
    for kind, action in steps:
        if action == "mend":
            try:
                mended = mend(kind, now)
            except ValueError as error:
                reason = str(error).removeprefix(f"{pair.source}: ")
                return Repaired(None, (*done, (kind, "drop", f"cannot be mended: {reason}")))
            if mended.id != now.id:
                done.append((kind, "mend", ""))
                now = mended
    swaps = [kind for kind, action in steps if action == "swap"]
    if swaps:
        now = swapped(now)
        done.append((swaps[0], "swap", ""))
    return Repaired(now, tuple(done))


def swapped(pair: Pair) -> Pair:
    """The pair with its label turned round, and with it what its other columns say of the two replies."""
    extra = {_other_side(key): value for key, value in pair.extra.items()}
    if isinstance(extra.get("annotations"), list):
        extra["annotations"] = [_turned(note) for note in extra["annotations"]]
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen, extra=extra)


def _other_side(key: str) -> str:
    for one, other in (("chosen", "rejected"), ("rejected", "chosen")):
        if key.startswith(f"{one}_"):
            return f"{other}_{key.removeprefix(f'{one}_')}"
        if key.endswith(f"_{one}"):
            return f"{key.removesuffix(f'_{one}')}_{other}"
    return key


def _turned(note: Any) -> Any:
    if not isinstance(note, Mapping) or note.get("first") not in ("chosen", "rejected"):
        return note
    return {**note, "first": "rejected" if note["first"] == "chosen" else "chosen"}
