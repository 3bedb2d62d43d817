"""Records that describe an intent: its policy, its cases, and how each action is worded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a reply can do; every text can state every fact in `needs`."""

    name: str
    needs: tuple[str, ...]
    texts: tuple[str, ...]
    reserved: tuple[str, ...]
    reasons: tuple[str, ...]
    limit: str = ""  # "future" or "past": where the texts expect the date `limit` to lie


@dataclass(frozen=True, slots=True)
class Case:
    """One state of the facts, and the action that the policy asks for in it."""

    name: str
    action: str
    state: tuple[str, ...]
    limit: str = "future"  # where the date `limit` lies as seen from today


@dataclass(frozen=True, slots=True)
class Intent:
    """A kind of ticket: one policy with at least two branches, so that the facts decide the answer."""

    name: str
    category: str
    policy: tuple[str, ...]
    cases: tuple[Case, ...]
    actions: tuple[Action, ...]
    openers: tuple[str, ...]
    reserved_openers: tuple[str, ...]
    account: bool = False  # about a membership rather than an order
    by_name: dict[str, Action] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {action.name: action for action in self.actions})
