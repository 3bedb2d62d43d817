"""A global batch divided among ranks: pairs dealt so that all finish together, every rank as many forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Any

from simpo.records import TokenGroup
from simpo.runs.ranks import Ranks

Cut = Callable[[Sequence[TokenGroup]], Iterator[list[TokenGroup]]]
Cost = Callable[[TokenGroup], float]


@dataclass(frozen=True, slots=True)
class Division:
    """The micro-batches of every rank in turn, as many for each; a rank that has fewer ends in empty ones.

    imbalance: how much more than the mean the rank with most to do has, as a share of the mean; 0 is even.
    """

    batches: tuple[list[TokenGroup], ...]
    imbalance: float


def divide(groups: Sequence[TokenGroup], ranks: Ranks, cut: Cut, cost: Cost) -> Division:
    """Deal the groups of a global batch to the ranks and cut each one's share into micro-batches.

    The costliest group goes first, each to the rank that has least so far (Graham 1969: at most 4/3 of the best
    possible). One rank cuts what it is given as it always has.
    """
    if ranks.size == 1:
        return Division(tuple(cut(groups)), 0.0)
    costs = [cost(group) for group in groups]
    shares: list[list[TokenGroup]] = [[] for _ in range(ranks.size)]
    loads = [(0.0, rank) for rank in range(ranks.size)]
    heapify(loads)
    for index in sorted(range(len(groups)), key=lambda index: (-costs[index], index)):
        load, rank = loads[0]
        shares[rank].append(groups[index])
        heapreplace(loads, (load + costs[index], rank))
    turns = [list(cut(share)) for share in shares]
    most = max(map(len, turns))
    batches = tuple(batch for own in turns for batch in [*own, *([[]] * (most - len(own)))])
    return Division(batches, max(load for load, _ in loads) / (sum(costs) / ranks.size) - 1)


def own_turns(batches: Sequence[Sequence[TokenGroup]], ranks: Ranks) -> Sequence[Sequence[TokenGroup]]:
    """Of the micro-batches of all ranks those of this one."""
    count = len(batches) // ranks.size
    return batches[ranks.rank * count : (ranks.rank + 1) * count]


def flops(model: Any, tokens: Callable[[Sequence[TokenGroup]], int]) -> Cost:
    """A group's share of the work: its tokens, each a little dearer in a longer row.

    Of a decoder of width D a token takes 24 D^2 operations a layer in matrix products and 2 T D in attention over half
    of T tokens: T / (12 D) of the former.
    """
    width = int(model.config.get_text_config().hidden_size)

    def cost(group: TokenGroup) -> float:
        length = tokens([group])
        return length * (1 + length / (12 * width))

    return cost
