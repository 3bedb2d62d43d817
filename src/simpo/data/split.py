"""A validation set held out by prompt, the same today and after rows are added."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from simpo.records import Row

R = TypeVar("R", bound=Row)


def split_by_prompt(rows: Sequence[R], fraction: float, seed: int = 0) -> tuple[tuple[R, ...], tuple[R, ...]]:
    """Rows to train on and rows held out, in their order; all rows of one prompt are on one side.

    `fraction` in [0, 1) is the share of the prompts held out, about: a prompt is held out where a hash of `seed` and
    its `prompt_id`, read as a number in [0, 1), is below it. So the side of a prompt depends on nothing else, and
    adding rows moves none. One exception: where one side would be empty and there are two prompts or more, the
    prompt nearest to the border goes there. With fraction 0 nothing is held out.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction {fraction} is not in [0, 1)")
    if fraction == 0:
        return tuple(rows), ()
    places = {prompt_id: _place(prompt_id, seed) for prompt_id in {row.prompt_id for row in rows}}
    held = {prompt_id for prompt_id, place in places.items() if place < fraction}
    if len(places) > 1 and not held:
        held = {min(places, key=places.__getitem__)}
    elif len(places) > 1 and len(held) == len(places):
        held.discard(max(places, key=places.__getitem__))
    train = tuple(row for row in rows if row.prompt_id not in held)
    return train, tuple(row for row in rows if row.prompt_id in held)


def _place(prompt_id: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
    # 53 bits, so that the quotient is exact and never rounds up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53
