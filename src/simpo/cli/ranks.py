"""What a command line does where several ranks run the same one: one of them speaks, and none speaks twice."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from simpo.cli.output import Failure, print_error, speaks
from simpo.errors import RecipeError

# The commands that several ranks may run together; any other would do its work once a rank, into the same files.
TOGETHER = frozenset({"train", "eval"})


def several() -> bool:
    """Whether torchrun, accelerate or `simpo launch` started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def begin(command: str | None) -> None:
    """Keep all but the main rank from printing. RecipeError for a command that takes one process."""
    if not several():
        return
    if not speaks():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    if command is not None and command not in TOGETHER:
        raise RecipeError(f"`simpo {command}` runs as one process, and here are {os.environ['WORLD_SIZE']}")


def end(status: int) -> None:
    """Part from the other ranks; one that ends in an error does so at once: the others wait while it is there.

    An interpreter that ends in the usual way takes down what connects the ranks last, and may wait for them there.
    """
    if not several():
        return
    if status == 0:
        from simpo.runs.ranks import leave

        leave()
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def told_already(failure: Failure) -> bool:
    """Whether the main rank prints this failure; a failure that this rank alone has is printed here, with its name."""
    if not several():
        return False
    from simpo.runs.ranks import said_by_main

    if failure.kind == "LostRank" and not speaks():
        return True  # the store went with the main rank, or will
    if said_by_main(failure.message):
        return True
    if not speaks():
        print_error(replace(failure, message=f"rank {os.environ['RANK']}: {failure.message}"), as_json=False)
        return True
    return False
