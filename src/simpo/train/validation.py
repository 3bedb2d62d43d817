"""What a policy makes of the validation rows: the same figures as a training step's, each row counted once."""

from __future__ import annotations

import math
from collections.abc import Callable

from simpo.core.saturation import saturated_pairs
from simpo.model.reference import Reference
from simpo.model.score import Scorer, model_batches, score_all, score_in_batches
from simpo.train.prepare import Prepared
from simpo.train.step import PairSums


def validation_figures(
    prepared: Prepared,
    scorer: Scorer,
    reference: Reference | None,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float | None]:
    """Loss, accuracy, margin, mean log-probabilities and saturation over the validation groups, each row counted once.

    saturated: share of the pairs of which the loss has next to no gradient left. A figure that is not finite is None:
    JSON has no word for it, and it is never better than another. `progress` is called with (done, total) after each
    batch and may raise to stop.
    """
    groups, objective = prepared.validation, prepared.objective
    passes = 1 if reference is None else 2

    def after(earlier: int) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(earlier + done, passes * total)

    model = prepared.policy.model
    policy = score_all(model, groups, batch_size=batch_size, scorer=scorer, progress=after(0))
    baseline = None
    if reference is not None:
        batches = model_batches(model, groups, batch_size)
        baseline = score_in_batches(reference, groups, batches, progress=after(len(groups)))
    losses = objective.losses(policy, baseline).double()
    tokens = sum(group.num_completion_tokens for group in groups)
    sums = PairSums()
    if objective.method.pairwise:
        sums.add(policy, objective.rewards(policy, baseline))
    figures = {"loss": float(losses.sum()) / objective.denominator(len(groups), tokens)} | {
        name: value for name, value in sums.means().items() if value is not None
    }
    if objective.method.pairwise:
        figures["saturated"] = float(saturated_pairs(objective, policy, baseline).double().mean())
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
