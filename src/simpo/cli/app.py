"""`simpo`: the table of commands and the outermost frame, where every error becomes a message and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from simpo import __version__
from simpo.cli import output, ranks
from simpo.errors import SimpoError

BUG_STATUS = 1
USAGE_STATUS = 2
INTERRUPTED_STATUS = 130
BROKEN_PIPE_STATUS = 141  # what a shell reports of a program that died of SIGPIPE


@dataclass(frozen=True, slots=True)
class Command:
    """One verb: its name, its line in `simpo --help`, and the module whose `command` runs it.

    `command` is a function with typer's annotations, or a `typer.Typer` for a verb with verbs of its own. The module
    is imported only when the verb is called, so that `simpo --help` pays for no tensor library.
    """

    name: str
    module: str
    help: str


# A new command is one file in this folder and one line here.
COMMANDS: tuple[Command, ...] = (
    Command("audit", "simpo.cli.audit", "Say what is wrong with preference data, and what to do."),
    Command("build", "simpo.cli.build", "Build a dataset version: repaired, grouped, split, hashed."),
    Command("data", "simpo.cli.data", "Show, compare and verify dataset versions."),
    Command("train", "simpo.cli.train", "Train from a recipe, or go on with an interrupted run."),
    Command("launch", "simpo.cli.launch", "Train as several ranks, on one machine or several."),
    Command("plan", "simpo.cli.plan", "Predict memory and time of a recipe, and say what would fit."),
    Command("render", "simpo.cli.render", "Show rows as the model sees them, and check the rendering."),
    Command("eval", "simpo.cli.eval", "Measure a model or a run on held-out pairs."),
    Command("sweep", "simpo.cli.sweep", "Find settings: ranges tried in turn, a choice with its reasons."),
    Command("compare", "simpo.cli.compare", "Train and measure methods side by side, with a verdict."),
    Command("report", "simpo.cli.report", "Write a run's report again and print its closing table."),
    Command("export", "simpo.cli.export", "Export a run's model, compared with the trained one."),
    Command("recipe", "simpo.cli.recipe", "List, show, copy and check recipes."),
)


def build_app(wanted: str | None = None) -> typer.Typer:
    """The command tree with the module of `wanted` imported; the others are there by name and help line only."""
    app = typer.Typer(
        name="simpo",
        help="Align a language model from pairwise preferences with SimPO, and get the evidence that it is better.",
        add_completion=False,
        rich_markup_mode=None,  # help texts hold [B], [sep] and the like, which are text and no markup
        pretty_exceptions_enable=False,
        epilog="Exit status: 0 done, 1 our bug, 2 recipe or usage, 3 data, 4 a check failed, 5 the run failed, "
        "130 interrupted.",
    )
    app.callback()(_top)
    for entry in COMMANDS:
        verb = importlib.import_module(entry.module).command if entry.name == wanted else _not_loaded
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=entry.name, help=entry.help, no_args_is_help=True)
        else:
            app.command(entry.name, short_help=entry.help)(verb)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        output.print_text(f"simpo {__version__}")
        raise typer.Exit()


def _top(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def _not_loaded() -> None:
    raise AssertionError("a command that was not asked for was called")


def first_word(arguments: Sequence[str]) -> str | None:
    """The name of the command: the first argument that is no option (no option before it takes a value)."""
    return next((word for word in arguments if not word.startswith("-")), None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; the only place that catches every exception."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    as_json = "--json" in words
    output.tolerate_odd_text()
    try:
        status = _run(words, as_json)
        sys.stdout.flush()
        ranks.end(status)
        return status
    except BrokenPipeError:
        # The reader of our output has gone (`simpo ... | head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_STATUS


def _run(words: list[str], as_json: bool) -> int:
    try:
        ranks.begin(first_word(words))
        command = typer.main.get_command(build_app(first_word(words)))
        with command.make_context("simpo", words) as context:
            command.invoke(context)
        return 0
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _tell(output.Failure("interrupted", exit_status=INTERRUPTED_STATUS), as_json)
        return INTERRUPTED_STATUS
    except typer.TyperException as error:
        _tell(_usage_failure(error), as_json)
        return USAGE_STATUS
    except SimpoError as error:
        kind = type(error).__name__
        _tell(output.Failure(error.message, error.where, error.fix, error.exit_status, kind), as_json)
        return error.exit_status
    except BrokenPipeError:
        raise
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        fix = "this is a bug in simpo: please report it with the lines above"
        _tell(output.Failure(message, None, fix, BUG_STATUS, "Bug"), as_json)
        return BUG_STATUS


def _tell(failure: output.Failure, as_json: bool) -> None:
    if not ranks.told_already(failure):
        output.print_error(failure, as_json)


def _usage_failure(error: typer.TyperException) -> output.Failure:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "simpo"
    return output.Failure(error.format_message(), None, f"see `{path} --help`", USAGE_STATUS, "UsageError")


if __name__ == "__main__":
    sys.exit(main())
