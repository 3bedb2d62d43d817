"""What every section of a recipe is made of: its base, and the numbers and files that its keys may hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Files = Annotated[list[str], Field(min_length=1)]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, and a recipe does not change once it is checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
