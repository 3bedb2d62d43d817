"""Which scorer a run may trust: the shared one, once it has agreed with the plain one on rows of that very run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from simpo.core.logps import SequenceLogps
from simpo.errors import CheckFailed
from simpo.model.attention import NAME, use_shared_attention
from simpo.model.pack import CannotShare, packed_tokens
from simpo.model.score import Scorer, padded_tokens, score
from simpo.model.shared import shared_score
from simpo.records import TokenGroup

Cast = Callable[[], AbstractContextManager[None]]

# Budgets of disagreement: nats per token of a completion, and the norm of the difference of gradients over their norm.
# In float32 the two differ by rounding alone (1e-6 and 1e-5 on SmolLM2). In bfloat16 each is off the truth by its own
# rounding, which grows with depth; a model that cannot share a prefix is off by tenths of a nat at once.
FLOAT32_BUDGET = (1e-3, 1e-2)
BFLOAT16_BUDGET = (5e-2, 0.3)

# How models choke on a packed row that they were not written for; what we see ourselves is CannotShare.
CHOKED = (ValueError, RuntimeError, TypeError, AttributeError)

NUM_CHECKED_GROUPS = 2
MAX_CHECKED_GRADIENTS = 2**25  # numbers; a sample over the depth says as much as all


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the shared scorer was from the plain one: value_error in nats per token, gradient_error relative."""

    value_error: float
    gradient_error: float | None
    value_budget: float
    gradient_budget: float

    @property
    def holds(self) -> bool:
        """Whether both errors are within budget; an error that is not a number is not."""
        gradient_holds = self.gradient_error is None or self.gradient_error <= self.gradient_budget
        return self.value_error <= self.value_budget and gradient_holds

    def describe(self) -> str:
        """The figures in one line."""
        text = f"log-probabilities differ by up to {self.value_error:.2g} nats per token (budget {self.value_budget:g})"
        if self.gradient_error is None:
            return text
        return (
            f"{text}, gradients by {self.gradient_error:.2g} of their norm (budget {self.gradient_budget:g})"
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The scorer a run uses, its name, and why in a sentence."""

    scorer: Scorer
    name: Literal["plain", "shared"]
    reason: str

    def tokens(self, groups: Sequence[TokenGroup]) -> int:
        """Tokens that one forward of this scorer runs for the groups."""
        return packed_tokens(groups) if self.name == "shared" else padded_tokens(groups)


def choose_scorer(
    setting: Literal["auto", "plain", "shared"],
    model: Any,
    groups: Sequence[TokenGroup],
    cast: Cast,
    *,
    coarse: bool = False,
    gradients: bool = True,
) -> Choice:
    """The scorer for a run under its precision: `cast` is entered around every forward, `coarse` if it is bfloat16.

    `plain` takes the plain one. Else the shared one is compared with it on the shortest groups of the run, in values
    and (with `gradients`) in gradients; where they disagree or it cannot serve the model, `auto` takes the plain one
    and says so, and `shared` raises CheckFailed.
    """
    plain, shared = _under(cast, score), _under(cast, _shared)
    if setting == "plain":
        return Choice(plain, "plain", "as the recipe says")
    sample = sorted(groups, key=lambda group: group.longest)[:NUM_CHECKED_GROUPS]
    before = _attention_name(model)
    try:
        coarse = coarse or next(model.parameters()).dtype not in (torch.float32, torch.float64)
        agreement = compare(model, sample, plain, shared, gradients=gradients, coarse=coarse)
        problem = None if agreement.holds else agreement.describe()
    except CannotShare as error:
        problem = str(error)
    except CHOKED as error:
        problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if problem is None:
        return Choice(shared, "shared", agreement.describe())
    _restore_attention(model, before)
    if setting == "shared":
        raise CheckFailed(
            f"the shared scorer does not agree with the plain one on this model: {problem}",
            fix="set train.scorer: auto, which takes the plain one then",
        )
    return Choice(plain, "plain", f"the shared scorer does not fit this model ({problem})")


def compare(
    model: Any, groups: Sequence[TokenGroup], plain: Scorer, shared: Scorer, *, gradients: bool, coarse: bool
) -> Agreement:
    """Score the groups both ways in evaluation mode and compare; the model's mode and gradients stay as they were.

    coarse: whether products run in bfloat16, which widens the budget.
    """
    training = model.training
    model.eval()
    try:
        watched = _sample_parameters(model) if gradients else []
        # The plain one takes a sequence at a time: all of them at once would be more than any step of the run takes.
        alone = [[replace(group, completions=(each,))] for group in groups for each in group.completions]
        expected, expected_gradients = _score_with_gradients(model, alone, plain, watched)
        actual, actual_gradients = _score_with_gradients(model, [groups], shared, watched)
    finally:
        model.train(training)
    value_error = float((expected - actual).abs().max())
    gradient_error = None
    if watched:
        squares = [(float((a - e).square().sum()), float(e.square().sum())) for e, a in
                   zip(expected_gradients, actual_gradients, strict=True)]  # fmt: skip
        norm = sum(square for _, square in squares) ** 0.5
        gradient_error = sum(square for square, _ in squares) ** 0.5 / max(norm, 1e-30)
    return Agreement(value_error, gradient_error, *(BFLOAT16_BUDGET if coarse else FLOAT32_BUDGET))


def _under(cast: Cast, scorer: Scorer) -> Scorer:
    def cast_scorer(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
        with cast():
            return scorer(model, groups)

    return cast_scorer


def _shared(model: Any, groups: Sequence[TokenGroup]) -> SequenceLogps:
    if _attention_name(model) != NAME:
        use_shared_attention(model)
    return shared_score(model, groups)


def _attention_name(model: Any) -> str:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return str(base.config._attn_implementation)


def _restore_attention(model: Any, name: str) -> None:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if _attention_name(model) != name:
        base.set_attn_implementation(name)


def _sample_parameters(model: Any) -> list[Tensor]:
    """Trained parameters from the first layer to the last, as many as the budget holds."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    stride = max(1, sum(parameter.numel() for parameter in trained) // MAX_CHECKED_GRADIENTS)
    chosen: list[Tensor] = []
    room = MAX_CHECKED_GRADIENTS
    for parameter in trained[::stride]:
        if parameter.numel() <= room:
            chosen.append(parameter)
            room -= parameter.numel()
    return chosen


def _score_with_gradients(
    model: Any, batches: Sequence[Sequence[TokenGroup]], scorer: Scorer, watched: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Mean log-probabilities [N], and the gradients of a sum that weighs each completion differently."""
    count = sum(len(group.completions) for groups in batches for group in groups)
    weights = torch.linspace(1.0, -0.5, count, device=next(model.parameters()).device)
    gradients = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in watched]
    means: list[Tensor] = []
    for groups in batches:
        with torch.set_grad_enabled(bool(watched)):
            found = scorer(model, groups).mean
            share, weights = weights[: len(found)], weights[len(found) :]
            if watched:
                steps = torch.autograd.grad((found * share).sum(), list(watched), allow_unused=True)
                for total, step in zip(gradients, steps, strict=True):
                    if step is not None:
                        total += step
        means.append(found.detach().float())
    return torch.cat(means), gradients
