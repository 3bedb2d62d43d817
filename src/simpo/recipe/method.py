"""The recipe's section on the loss: which method, with which of its own settings."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simpo.core.methods import METHODS
from simpo.recipe.section import Finite, NonNegative, Positive, Section


class MethodRecipe(Section):
    """The loss; a setting that the named method does not use is an error."""

    name: str = Field("simpo", description=f"One of {', '.join(METHODS)}.")
    beta: Positive | None = Field(None, description="Scale of the reward (inverse temperature).")
    gamma: NonNegative | None = Field(
        None,
        description="Target margin in nats per token: how much better the winner must be. "
        "The authors' gamma_beta_ratio.",
    )
    reward_margin: NonNegative | None = Field(
        None,
        description="The same margin in units of reward, beta * gamma, as the paper writes it. Give one of the two.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] | None = Field(
        None, description="Assumed share of flipped labels, in the authors' form."
    )
    sft_weight: NonNegative | None = Field(
        None, description="Weight of an added SFT term on the chosen completion."
    )
    alpha: Finite | None = Field(None, description="AlphaPO: shape of the reward; 0 gives SimPO.")
    odds_weight: Positive | None = Field(
        None, description="ORPO: weight of the odds-ratio term (the paper's lambda)."
    )
    reference: Literal["precomputed", "live", "adapter_off"] | None = Field(
        None,
        description="DPO family: reference scored once and cached, by a second model, or with the adapter "
        "switched off.",
    )

    @model_validator(mode="after")
    def _known_and_used(self) -> MethodRecipe:
        if self.name not in METHODS:
            near = difflib.get_close_matches(self.name, METHODS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"method {self.name!r} is not one of {', '.join(METHODS)}{hint}")
        method = METHODS[self.name]
        for key in (
            "beta",
            "gamma",
            "reward_margin",
            "label_smoothing",
            "alpha",
            "odds_weight",
            "sft_weight",
            "reference",
        ):
            if getattr(self, key) is not None and not method.uses(key):
                raise ValueError(f"{key} has no effect with method {self.name}: remove it")
        if self.gamma is not None and self.reward_margin is not None:
            raise ValueError(
                "gamma and reward_margin are the same margin (reward_margin = beta * gamma): give one"
            )
        return self

    @property
    def parameters(self) -> dict[str, float]:
        """The loss's keyword arguments: the table's defaults with this recipe's values over them.

        `reward_margin` is turned into `gamma` here (gamma = reward_margin / beta) and nowhere else.
        """
        values = dict(METHODS[self.name].defaults)
        values.update({key: getattr(self, key) for key in values if getattr(self, key) is not None})
        if self.reward_margin is not None:
            values["gamma"] = self.reward_margin / values["beta"]
        return values

    @property
    def chosen_sft_weight(self) -> float:
        """Weight of the SFT term on the chosen completion."""
        return METHODS[self.name].sft_weight if self.sft_weight is None else self.sft_weight

    def describe(self) -> str:
        """The method in one line, margin in both units: `simpo: beta 2, gamma 0.5 (reward margin 1) ...`."""
        values = self.parameters
        parts = [f"{key} {value:g}" for key, value in values.items()]
        if "gamma" in values and "beta" in values:
            at = list(values).index("gamma")
            parts[at] += f" nats per token (reward margin {values['beta'] * values['gamma']:g})"
        if self.name != "sft":
            parts.append(f"SFT weight {self.chosen_sft_weight:g}")
        return f"{self.name}: {', '.join(parts)}" if parts else self.name
