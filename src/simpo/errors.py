"""Errors a user can mend, each with the exit status that the command line ends with.

Anything that is not a `SimpoError` is a bug of ours and ends with status 1 and a traceback.
"""

from __future__ import annotations

from typing import ClassVar


class SimpoError(Exception):
    """What went wrong, where, and what to do about it.

    `str(error)` reads `where: message` and, on a second line, `  fix: ...`:

        train.jsonl:812: "rejected" is empty (pair 3f9ac1d204be77a0)
          fix: remove the row
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.message = message
        self.where = where
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  fix: {self.fix}" if self.fix else head


class RecipeError(SimpoError):
    """A recipe, an option or a path that cannot be used as given."""

    exit_status = 2


class DataError(SimpoError):
    """Data that cannot be read, or that leaves nothing to train on."""

    exit_status = 3


class CheckFailed(SimpoError):
    """A check said no: an export that differs from the model, a checkpoint that does not verify."""

    exit_status = 4


class RunFailed(SimpoError):
    """A run that cannot go on: a non-finite step, a full disk, a collapse."""

    exit_status = 5


class Collapsed(RunFailed):
    """A run whose model is broken, collapsing or not finite: these settings end so however often they are tried."""


class Interrupted(SimpoError):
    """A run stopped by the user with its state saved."""

    exit_status = 130
