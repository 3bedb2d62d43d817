"""`simpo audit`: what is wrong with some files of pairs, whether they are fit to train on, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from simpo.cli.options import JsonOption
from simpo.cli.output import Progress, note, print_json, print_styled
from simpo.cli.reading import FormatOption, MapOption, PairingOption, columns_of

if TYPE_CHECKING:
    from simpo.audit.result import Audit
    from simpo.data.shapes import Pairing

NOT_FIT_STATUS = 4


def command(
    files: Annotated[
        list[str], typer.Argument(help="Files of pairs, patterns, a hub id, or a dataset version.")
    ],
    format: FormatOption = None,
    mapping: MapOption = None,
    pairing: PairingOption = None,
    min_margin: Annotated[
        float,
        typer.Option(min=0, help="Leave out pairs whose scores differ by less, in the file's own unit."),
    ] = 0.0,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first N pairs only.")] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Pairs that the model is measured on: do they leak? May be repeated."
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Questions of a benchmark: do they leak? May be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model (folder, run or hub id): do the pairs fit in its tokens?")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens that a pair should fit in; with --model; default 2048.")
    ] = None,
    score_labels: Annotated[
        bool,
        typer.Option(
            "--score-labels",
            help="Let --model score up to 5,000 pairs, to tell turned labels; minutes to hours on a CPU.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the audit as JSON to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the audit as one page to this file.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with status 4 unless the data is fit as it is.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every pair once and say what is wrong with them, whether they are fit to train on, and what to do.

    Ends with status 0 whatever was found, unless --strict is given. What each finding means: docs/audit.md.
    """
    from simpo.audit.run import audit

    with Watch() as watch:
        result = audit(
            [file for one in files for file in _opened(one)],
            format=None if format == "auto" else format,
            columns=columns_of(mapping),
            pairing=cast("Pairing", pairing or "best_worst"),
            min_margin=min_margin,
            limit=limit,
            held_out=held_out or (),
            benchmark=benchmark or (),
            model=model,
            max_length=max_length,
            score_labels=score_labels,
            beside=None,
            progress=watch.rows,
            scored=watch.scored,
        )
    _write(result, out, html)
    if as_json:
        print_json(result.to_json())
    else:
        from simpo.cli.audit_screen import screen

        print_styled(*screen(result, _reading(files, format, mapping, pairing, min_margin, limit)))
        for what, path in (("audit", out), ("page", html)):
            if path is not None:
                note(f"{what:<6} {path}")
    if strict and result.verdict.fit != "fit":
        raise typer.Exit(NOT_FIT_STATUS)


def _write(result: Audit, out: Path | None, html: Path | None) -> None:
    if out is not None:
        from simpo.runs.folder import write_json

        write_json(out, result.to_json())
    if html is not None:
        from simpo.report.audit.page import write_audit_page

        write_audit_page(result.to_json(), html)


class Watch:
    """How far an audit is, on stderr: rows read, then pairs that a model has scored."""

    def __init__(self) -> None:
        self._bar = Progress("audit", total=None, unit="rows")
        self._done = 0
        self._scores: Progress | None = None

    def __enter__(self) -> Watch:
        self._bar.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        (self._scores or self._bar).__exit__(*failure)

    def rows(self, done: int) -> None:
        """So many rows were read."""
        self._bar.update(done, num=done - self._done)
        self._done = done

    def scored(self, done: int, total: int) -> None:
        """So many pairs of so many were scored."""
        if self._scores is None:
            self._bar.__exit__(None, None, None)
            self._done = 0
            self._scores = Progress("scoring", total=total, unit="pairs")
            self._scores.__enter__()
        self._scores.update(done, num=done - self._done)
        self._done = done


def _opened(named: str) -> list[str]:
    """The files of a dataset version where one is named; else the name itself."""
    from simpo.data.manifest import SPLITS
    from simpo.data.version import is_version, open_version

    if not is_version(Path(named)):
        return [named]
    version = open_version(named)
    return [str(file) for split in SPLITS if (file := version.file(split)) is not None]


def _reading(
    files: Sequence[str],
    format: str | None,
    mapping: Sequence[str] | None,
    pairing: str | None,
    min_margin: float,
    limit: int | None,
) -> list[str]:
    """The words that say what is read and how, for the commands that read the same."""
    words = list(files)
    for option, value in (("--format", format), ("--pairing", pairing), ("--limit", limit)):
        words += [] if value is None else [option, str(value)]
    words += ["--min-margin", f"{min_margin:g}"] if min_margin else []
    return [*words, *(word for one in mapping or () for word in ("--map", one))]
