"""Pack token groups into one row without padding, each group's shared prefix once, its branches behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from simpo.records import TokenGroup

# On a CPU oneDNN compiles a kernel for every shape of product, 0.6 MB each, and keeps a thousand of them. Rows and
# tiles of attention of any length use all of these up within a few steps, and are then compiled anew for ever. Filled
# up to multiples of this, a run has a few hundred shapes.
SHAPE_STEP = 32


class CannotShare(Exception):
    """A model that a packed row with shared prefixes cannot serve, with what in it stands against that."""


@dataclass(frozen=True, slots=True)
class Block:
    """One group in the row: `prefix` tokens that every branch sees, then each branch's own tokens in turn."""

    prefix: int
    branches: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of the block."""
        return self.prefix + sum(self.branches)


@dataclass(frozen=True, slots=True)
class Layout:
    """Who may attend to whom in one packed row: the blocks tile it, and no block sees another.

    fill: tokens after the last block that nobody sees or reads.
    """

    blocks: tuple[Block, ...]
    fill: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens of the row that belong to a block."""
        return sum(block.length for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Pack:
    """Token groups as one row of T tokens.

    input_ids, position_ids: [1, T] int64; positions go on from the prefix in every branch. rows: [R] the places whose
    hidden states predict something, ascending. pick_row, targets, owner: [S] for each scored token the index into
    `rows` that predicts it, the token, and the completion (0 ... N - 1, in the order of the groups) it belongs to.
    pick_row is ascending. tokens: [N] scored tokens of each completion.
    """

    input_ids: Tensor
    position_ids: Tensor
    rows: Tensor
    pick_row: Tensor
    targets: Tensor
    owner: Tensor
    tokens: Tensor
    layout: Layout

    @property
    def num_completions(self) -> int:
        """N."""
        return len(self.tokens)


def pack_groups(groups: Sequence[TokenGroup], device: torch.device) -> Pack:
    """Lay the groups out one after another: the longest common prefix of a group's sequences, then what differs."""
    ids: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
    positions: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    sources: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    targets: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
    blocks: list[Block] = []
    place = 0
    for group in groups:
        sequences = [np.concatenate([group.prompt, completion]) for completion in group.completions]
        common = common_prefix(sequences)
        block = Block(common, tuple(len(sequence) - common for sequence in sequences))
        ids.append(sequences[0][:common])
        positions.append(np.arange(common))
        branch = place + common
        for sequence, length in zip(sequences, block.branches, strict=True):
            ids.append(sequence[common:])
            positions.append(np.arange(common, len(sequence)))
            before = np.arange(
                len(group.prompt) - 1, len(sequence) - 1
            )  # places that predict, in the sequence
            sources.append(np.where(before < common, place + before, branch + before - common))
            targets.append(sequence[len(group.prompt) :])
            branch += length
        blocks.append(block)
        place += block.length
    return _as_pack(ids, positions, sources, targets, Layout(tuple(blocks)), device)


def filled(pack: Pack) -> Pack:
    """The pack with as many tokens behind it as make its row one of few lengths."""
    fill = round_up(pack.layout.num_tokens) - pack.layout.num_tokens
    return replace(
        pack,
        input_ids=F.pad(pack.input_ids, (0, fill)),
        position_ids=F.pad(pack.position_ids, (0, fill)),
        layout=Layout(pack.layout.blocks, fill),
    )


def round_up(length: int) -> int:
    """The next multiple of `SHAPE_STEP`."""
    return -(-length // SHAPE_STEP) * SHAPE_STEP


def round_down(length: int) -> int:
    """The multiple of `SHAPE_STEP` before it; a length that is less stays."""
    return length // SHAPE_STEP * SHAPE_STEP or length


def common_prefix(sequences: Sequence[np.ndarray[tuple[int], np.dtype[np.int32]]]) -> int:
    """Length of the longest common prefix, leaving every sequence at least one token of its own."""
    shortest = min(len(sequence) for sequence in sequences) - 1
    first = sequences[0][:shortest]
    common = shortest
    for sequence in sequences[1:]:
        differs = np.flatnonzero(first[:common] != sequence[:common])
        common = int(differs[0]) if len(differs) else common
    return common


def packed_tokens(groups: Sequence[TokenGroup]) -> int:
    """Tokens of a row that holds the groups."""
    return sum(num_packed_tokens(group) for group in groups)


def num_packed_tokens(group: TokenGroup) -> int:
    """Tokens the group takes in a pack."""
    sequences = [np.concatenate([group.prompt, completion]) for completion in group.completions]
    common = common_prefix(sequences)
    return common + sum(len(sequence) - common for sequence in sequences)


def _as_pack(
    ids: Sequence[np.ndarray[tuple[int], np.dtype[np.int32]]],
    positions: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]],
    sources: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]],
    targets: Sequence[np.ndarray[tuple[int], np.dtype[np.int32]]],
    layout: Layout,
    device: torch.device,
) -> Pack:
    lengths = np.array([len(part) for part in targets])
    source = np.concatenate(sources)
    order = np.argsort(source, kind="stable")  # so that a chunk of rows owns one run of picks
    rows, pick_row = np.unique(source[order], return_inverse=True)
    owner = np.repeat(np.arange(len(targets)), lengths)[order]

    def tensor(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(device)

    return Pack(
        tensor(np.concatenate(ids).astype(np.int64)).unsqueeze(0),
        tensor(np.concatenate(positions)).unsqueeze(0),
        tensor(rows),
        tensor(pick_row),
        tensor(np.concatenate(targets)[order].astype(np.int64)),
        tensor(owner),
        tensor(lengths),
        layout,
    )
