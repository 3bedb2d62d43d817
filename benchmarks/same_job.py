"""Whether both sides did the same job: our scorer on TRL's very tokens must give TRL's first loss."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.child import Job, Setting, claim_stdout
from benchmarks.run_simpo import recipe_of
from simpo.data.batches import micro_batches
from simpo.errors import CheckFailed
from simpo.model.score import Scorer
from simpo.records import TokenGroup
from simpo.train.accelerator import make_accelerator, run_scorer
from simpo.train.prepare import Prepared, attach_adapter, prepare

# How far two right losses may lie apart. float32: order of summation. autocast: bfloat16 matrix products over rows
# padded differently. pure: TRL also takes the log-softmax of bfloat16 logits in bfloat16.
TOLERANCE = {"float32": 1e-4, "autocast": 1e-2, "pure": 5e-2}


@dataclass(frozen=True, slots=True)
class SameJob:
    """The first batch of both sides compared by a third process.

    extra_tokens: what TRL scores after our completion, token by token, the same for each completion (None where they
    differ otherwise). loss_own_tokens, loss_trl_tokens: our loss on our rendering and on TRL's.
    """

    extra_tokens: tuple[str, ...] | None
    loss_own_tokens: float
    loss_trl_tokens: float

    @classmethod
    def parse(cls, line: str) -> SameJob:
        """The record of the JSON line that this script prints."""
        fields = json.loads(line)
        extra = fields["extra_tokens"]
        return cls(
            None if extra is None else tuple(extra), fields["loss_own_tokens"], fields["loss_trl_tokens"]
        )


def require_same_job(same: SameJob, simpo_loss: float, trl_loss: float, precision: str) -> None:
    """Raise CheckFailed where a timed run's first loss is not the one that its tokens have."""
    tolerance = TOLERANCE[precision]
    for side, timed, checked in (
        ("simpo", simpo_loss, same.loss_own_tokens),
        ("TRL", trl_loss, same.loss_trl_tokens),
    ):
        if not abs(timed - checked) <= tolerance:
            raise CheckFailed(
                f"{side}'s first loss is {timed:.6f}, but its tokens have the loss {checked:.6f} "
                f"(tolerance {tolerance:g}): the two sides did not do the same job",
                fix="compare the settings of benchmarks/run_simpo.py and benchmarks/run_trl.py",
            )


def require_log_2(simpo_loss: float, trl_loss: float) -> None:
    """Raise CheckFailed where DPO's first loss is not that of a policy that still is its reference."""
    for side, loss in (("simpo", simpo_loss), ("TRL", trl_loss)):
        if not abs(loss - math.log(2)) <= 1e-2:
            raise CheckFailed(
                f"{side}'s first DPO loss is {loss:.6f} and not log 2: its reference is not the policy it began with",
                fix="compare the settings of benchmarks/run_simpo.py and benchmarks/run_trl.py",
            )


def extra_tokens(own: Sequence[TokenGroup], theirs: Sequence[TokenGroup]) -> tuple[int, ...] | None:
    """The token ids that end each of their completions beyond ours, if prompts and all else are equal; else None."""
    tails = set()
    for mine, other in zip(own, theirs, strict=True):
        if not np.array_equal(mine.prompt, other.prompt):
            return None
        for short, long in zip(mine.completions, other.completions, strict=True):
            if not np.array_equal(long[: len(short)], short):
                return None
            tails.add(tuple(int(token) for token in long[len(short) :]))
    return tails.pop() if len(tails) == 1 else None


def read_groups(path: Path, own: Sequence[TokenGroup]) -> list[TokenGroup]:
    """TRL's token ids of the first batch, one group for each of ours."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        TokenGroup(
            np.array(row["prompt"], np.int32),
            (np.array(row["chosen"], np.int32), np.array(row["rejected"], np.int32)),
            group.row,
        )
        for row, group in zip(rows, own, strict=True)
    ]


def mean_loss(prepared: Prepared, scorer: Scorer, groups: Sequence[TokenGroup]) -> float:
    """The loss a training step over these groups would report, without a gradient."""
    total = 0.0
    with torch.no_grad():
        for batch in micro_batches(groups, 2):
            total += float(prepared.objective.losses(scorer(prepared.policy.model, batch)).double().sum())
    return total / len(groups)


def compare(job: Job) -> SameJob:
    """Compare the first batch, whose pairs are `job.pairs`, with what TRL wrote to `job.tokens`."""
    with tempfile.TemporaryDirectory(dir=job.scratch) as folder:
        recipe = recipe_of(replace(job, setting=Setting(1)), Path(folder) / "run")
        prepared = prepare(recipe)
        attach_adapter(recipe, prepared.policy, Path(folder))
        accelerator = make_accelerator(recipe, prepared.policy.device)
        scorer = run_scorer(
            recipe, accelerator, prepared.policy.model, prepared.train, gradients=False
        ).scorer
        theirs = read_groups(Path(str(job.tokens)), prepared.train)
        extra = extra_tokens(prepared.train, theirs)
        texts = None if extra is None else tuple(prepared.policy.tokenizer.decode([token]) for token in extra)
        return SameJob(
            texts, mean_loss(prepared, scorer, prepared.train), mean_loss(prepared, scorer, theirs)
        )


def main(path: str) -> None:
    """Print the comparison as one JSON line."""
    out = claim_stdout()
    print(json.dumps(asdict(compare(Job.read(path)))), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
