"""The one table of methods: name -> loss, score, reference, parameters. Nothing else compares a method's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # `simpo recipe` and `--help` read this table without paying for torch
    from torch import Tensor

    PairLoss = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class Method:
    """How one method turns log-probabilities into a loss.

    score: which log-probability of a completion the loss takes, `mean` (nats per token) or `total` (nats).
    reference: whether the reference model's is subtracted. loss_name: a function of `simpo.core.losses`, None
    for SFT, which has no rejected completion. defaults: every keyword argument of the loss with its default.
    sft_weight: of the added SFT term on the chosen completion, -mean log-probability. source: where the
    method was published.
    """

    name: str
    title: str
    source: str
    loss_name: str | None
    score: Literal["mean", "total"]
    reference: bool = False
    defaults: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    sft_weight: float = 0.0

    @property
    def pairwise(self) -> bool:
        """Whether the method learns from pairs; False for SFT, which learns from completions alone."""
        return self.loss_name is not None

    @property
    def loss(self) -> PairLoss:
        """The loss over [B] scores of chosen and rejected. Raises ValueError for SFT, which has none."""
        from simpo.core import losses

        if self.loss_name is None:
            raise ValueError(f"{self.name} has no loss over pairs: it minimises -log p of each completion")
        loss: PairLoss = getattr(losses, self.loss_name)
        return loss

    def uses(self, key: str) -> bool:
        """Whether a recipe key of the method section has an effect with this method."""
        if key == "reward_margin":
            return "gamma" in self.defaults and "beta" in self.defaults
        if key == "sft_weight":
            return self.pairwise
        if key == "reference":
            return self.reference
        return key in self.defaults


def _method(
    name: str,
    title: str,
    source: str,
    loss_name: str | None,
    score: Literal["mean", "total"],
    *,
    reference: bool = False,
    sft_weight: float = 0.0,
    **defaults: float,
) -> Method:
    return Method(name, title, source, loss_name, score, reference, MappingProxyType(defaults), sft_weight)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            _method(
                "simpo",
                "SimPO",
                "arXiv:2405.14734",
                "simpo_loss",
                "mean",
                beta=2.0,
                gamma=0.5,
                label_smoothing=0.0,
            ),
            _method(
                "simpo_hinge",
                "SimPO, hinge",
                "arXiv:2405.14734",
                "simpo_hinge_loss",
                "mean",
                beta=2.0,
                gamma=0.5,
            ),
            _method(
                "dpo",
                "DPO",
                "arXiv:2305.18290",
                "dpo_loss",
                "total",
                reference=True,
                beta=0.1,
                label_smoothing=0.0,
            ),
            _method(
                "dpo_norm",
                "DPO-norm",
                "arXiv:2411.15124",
                "dpo_loss",
                "mean",
                reference=True,
                beta=5.0,
                label_smoothing=0.0,
            ),
            _method("ipo", "IPO", "arXiv:2310.12036", "ipo_loss", "mean", reference=True, beta=0.1),
            _method("orpo", "ORPO", "arXiv:2403.07691", "orpo_loss", "mean", sft_weight=1.0, odds_weight=0.1),
            _method(
                "cpo",
                "CPO",
                "arXiv:2401.08417",
                "cpo_loss",
                "total",
                sft_weight=1.0,
                beta=0.1,
                label_smoothing=0.0,
            ),
            _method("simper", "SimPER", "arXiv:2502.00883", "simper_loss", "mean"),
            _method("repo", "RePO", "arXiv:2503.07426", "repo_loss", "mean", gamma=0.5),
            _method(
                "alphapo",
                "AlphaPO",
                "arXiv:2501.03884",
                "alphapo_loss",
                "mean",
                beta=2.5,
                gamma=0.1,
                alpha=0.25,
            ),
            _method("sft", "SFT", "maximum likelihood", None, "total"),
        )
    }
)
