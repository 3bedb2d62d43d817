"""`simpo launch`: `simpo train` as several ranks, on one machine or as this machine's part of several."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from simpo.cli.options import JsonOption, RecipeUnlessResumed, ResumeOption, SetOption
from simpo.errors import RecipeError, RunFailed

LAST_PORT = 65535


def command(
    recipe: RecipeUnlessResumed = None,
    resume: ResumeOption = None,
    nproc: Annotated[
        int | None, typer.Option(min=1, help="Ranks on this machine; default: one a GPU.")
    ] = None,
    nnodes: Annotated[int, typer.Option(min=1, help="Machines; start this command on each.")] = 1,
    node_rank: Annotated[
        int | None, typer.Option(min=0, help="This machine's number, from 0; needed for several.")
    ] = None,
    rdzv: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where machine 0 listens; needed for several machines."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train as several ranks, one a GPU (or a CPU process), that share each batch; the result is that of one.

    The same as `simpo train` under torchrun or accelerate launch, for those who know neither. Ctrl-C is passed on: the
    state is saved, and --resume goes on with as many ranks as are then there. Where a rank dies the others are stopped.
    """
    if (recipe is None) == (resume is None):
        raise RecipeError("give either a recipe or --resume RUN", fix="simpo launch my.yaml --nproc 2")
    words = [sys.executable, "-m", "simpo.cli.app", "train"]
    words += ["--resume", str(resume)] if resume is not None else [_checked(str(recipe), overrides or [])]
    words += [word for override in overrides or [] for word in ("--set", override)]
    words += ["--json"] if as_json else []
    _start(words, nproc or _num_gpus(), nnodes, node_rank, rdzv)


def _checked(recipe: str, overrides: list[str]) -> str:
    """The recipe's name, once it is known to be one: a mistake is cheaper to find before any rank is started."""
    from simpo.cli.recipe import recipe_file
    from simpo.recipe import load_recipe

    load_recipe(recipe_file(recipe), overrides)
    return recipe


def _start(words: list[str], nproc: int, nnodes: int, node_rank: int | None, rdzv: str | None) -> None:
    from simpo.runs.launch import Place, launch

    if nnodes == 1:
        if node_rank or rdzv is not None:
            raise RecipeError("--node-rank and --rdzv have no effect with one machine: give --nnodes too")
        ended = launch(words, Place(nproc))
    else:
        if node_rank is None or rdzv is None:
            raise RecipeError(
                "several machines need --node-rank and --rdzv",
                fix="--node-rank 0 to N-1, --rdzv HOST:PORT of machine 0, the same on all",
            )
        if node_rank >= nnodes:
            raise RecipeError(f"--node-rank {node_rank}: the last of {nnodes} machines is {nnodes - 1}")
        ended = launch(words, Place(nproc, nnodes, node_rank, *_address(rdzv)))
    if ended.status < 0:
        name = signal.Signals(-ended.status).name
        raise RunFailed(
            f"rank {ended.rank} (process {ended.pid}) was killed by {name}; the other ranks were stopped",
            fix="SIGKILL often means that memory ran out; go on with `simpo launch --resume RUN`",
        )
    if ended.status and node_rank:  # on machine 0 rank 0 has said why
        raise RunFailed(f"rank {ended.rank} ended with status {ended.status}; rank 0 says why")
    if ended.status:
        raise typer.Exit(ended.status)


def _address(rdzv: str) -> tuple[str, int]:
    host, _, port = rdzv.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= LAST_PORT:
        raise RecipeError(f"--rdzv {rdzv!r} is not HOST:PORT", fix="for example --rdzv node0:29500")
    return host, int(port)


def _num_gpus() -> int:
    import torch

    count = torch.cuda.device_count()
    if count == 0:
        raise RecipeError(
            "no GPU is seen here, and --nproc does not say how many ranks to start", fix="--nproc 2"
        )
    return count
