"""`simpo export`: a run's best checkpoint as a folder that loads anywhere, compared with the trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from simpo.cli.options import JsonOption
from simpo.cli.output import note, print_json, print_text

Kind = Literal["auto", "adapter", "merged"]
Dtype = Literal["keep", "float32", "bfloat16", "float16"]


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with a checkpoint.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; RUN/export when not given.")
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option(help="`auto` merges an adapter into its base, so that the folder stands alone."),
    ] = "auto",
    dtype: Annotated[
        Dtype, typer.Option(help="Type of the weights; `keep` writes what the run trained in.")
    ] = "keep",
    as_json: JsonOption = False,
) -> None:
    """Export the model of a run: weights, tokenizer, card and lineage.

    The folder is loaded again with plain transformers (or peft) and compared with the trained model before it gets its
    name. When it differs, the command ends with 4 and leaves nothing behind.
    """
    from simpo.release.export import export_run

    result = export_run(run, out, kind=kind, dtype=dtype, report=note)
    if as_json:
        print_json({**result.record(run), "path": result.path})
        return
    print_text(f"wrote {result.path}: {result.kind} weights in {result.dtype}, step {result.step}")
    print_text(f"equal to the trained model on {result.parity.source}: {result.parity.words()}")
    for name, digest in result.files.items():
        print_text(f"  {digest[:12]}  {name}")
