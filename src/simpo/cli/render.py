"""`simpo render`: the pairs of a recipe as the model gets to see them, and what must hold of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simpo.cli.options import JsonOption, RecipeArgument, SetOption
from simpo.cli.output import print_json, print_styled, print_table, printable
from simpo.errors import CheckFailed

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

PROMPT_GUTTER, SCORED_GUTTER = "│ ", "┃ "
SHADES = {
    "chosen": ("green", "bright_green"),
    "rejected": ("red", "bright_red"),
}
MAX_LINES = 12  # of a prompt, unless --full


def command(
    recipe: RecipeArgument,
    num: Annotated[int, typer.Option("--num", min=0, help="How many training rows to show.")] = 3,
    full: Annotated[bool, typer.Option("--full", help="Show long prompts whole.")] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show training rows as tokens: the prompt, what is scored, and the one stop token; then check all rows.

    No weight is loaded. Ends with status 4 when a check fails.
    """
    from simpo.cli.recipe import recipe_file
    from simpo.recipe import load_recipe
    from simpo.train.rendering import inspect_rendering

    inspection = inspect_rendering(load_recipe(recipe_file(recipe), overrides or []).recipe)
    shown = inspection.to_json(num)
    if as_json:
        print_json(shown)
        if not inspection.passed:
            raise typer.Exit(CheckFailed.exit_status)
        return
    for pair in shown["pairs"]:
        print_styled(*_pair(pair, full))
    if shown["pairs"]:
        print_styled(*_legend())
    _print_data(shown["data"])
    print_styled(*_checks(shown["checks"]), *_notes(shown))
    failed = [check["name"] for check in shown["checks"] if not check["passed"]]
    if failed:
        raise CheckFailed(f"what was rendered is not as it must be: {'; '.join(failed)}")


@dataclass(frozen=True, slots=True)
class _Behind:
    """Lines behind a gutter, which stands before each part of a line that had to be wrapped."""

    gutter: Text
    lines: Sequence[Text]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = max(10, options.max_width - self.gutter.cell_len)
        for line in self.lines:
            for part in line.wrap(console, width, overflow="fold"):
                yield self.gutter + part


def _pair(pair: Mapping[str, Any], full: bool) -> Iterator[Text | _Behind]:
    from rich.text import Text

    yield Text(pair["source"], style="bold")
    for name, tokens in pair.items():
        if name == "source":
            continue
        shades = SHADES.get(name)
        name = "completion" if shades and "rejected" not in pair else name
        told = f"{len(tokens)} tokens, {'scored' if shades else 'not scored'}"
        yield Text.assemble((f"{name}  ", f"bold {shades[0] if shades else ''}"), told)
        lines = list(_lines(tokens, shades))
        if shades:
            yield _Behind(Text(SCORED_GUTTER, style=shades[0]), lines)
        else:
            yield _Behind(Text(PROMPT_GUTTER, style="dim"), lines if full else _shortened(lines))
    yield Text()


def _lines(tokens: Sequence[Mapping[str, Any]], shades: tuple[str, str] | None) -> Iterator[Text]:
    """The tokens as lines of text; with `shades`, tokens take them in turn and the stop token is set off."""
    from rich.text import Text

    line = Text()
    for place, token in enumerate(tokens):
        if shades and token["stop"]:
            line.append(f"⟦{printable(token['text'])}⟧", style="bold reverse")
            continue
        style = "cyan" if token["special"] else shades[place % 2] if shades else "dim"
        *ended, rest = printable(token["text"]).replace("\t", "→").split("\n")
        for part in ended:
            yield line.append(part, style=style).append("↵", style="dim")
            line = Text()
        line.append(rest, style=style)
    if line:
        yield line


def _shortened(lines: Sequence[Text]) -> list[Text]:
    from rich.text import Text

    if len(lines) <= MAX_LINES:
        return list(lines)
    half = MAX_LINES // 2
    left_out = Text(f"... {len(lines) - 2 * half} more lines: --full shows them", style="dim italic")
    return [*lines[:half], left_out, *lines[-half:]]


def _legend() -> Iterator[Text]:
    from rich.text import Text

    yield Text.assemble(
        (PROMPT_GUTTER, "dim"), "prompt, never scored   ",
        (SCORED_GUTTER, "green"), "scored   ",
        ("⟦stop⟧", "bold reverse"), " scored too; production stops here",
    )  # fmt: skip
    yield Text.assemble(("control", "cyan"), " token   ", ("↵", "dim"), " line break   ")


def _print_data(data: Mapping[str, Any]) -> None:
    names = list(next(iter(data.values()))["tokens"])
    rows = []
    for name, part in data.items():
        left_out = ", ".join(f"{count} {reason}" for reason, count in part["dropped"].items()) or "none"
        lengths = [part["tokens"].get(column) for column in names]
        rows.append(
            (name, part["rows"], part["rendered"], left_out, part["trimmed_prompts"], part["merged_boundaries"],
             *(f"{i['median']:g} / {i['p90']:g} / {i['longest']}" if i else "" for i in lengths))
        )  # fmt: skip
    counted = ("data", "rows", "rendered", "left out", "trimmed", "tokenised apart")
    print_table((*counted, *names), rows, title="lengths in tokens: median / 90th percentile / longest")


def _checks(checks: Sequence[Mapping[str, Any]]) -> Iterator[_Behind]:
    from rich.text import Text

    for check in checks:
        sign = Text("✓ ", style="green") if check["passed"] else Text("✗ ", style="bold red")
        yield _Behind(
            sign,
            [Text.assemble((check["name"], "default"), (f": {printable(check['detail'])}", "dim default"))],
        )


def _notes(shown: Mapping[str, Any]) -> Iterator[Text]:
    from rich.text import Text

    head = shown["written_before_each_reply"]
    if head.strip():
        yield Text(
            f"note: the chat template writes {head!r} before each reply; it is scored, being the model's to write",
            style="yellow",
        )
    if shown["dated"]:
        yield Text(
            "note: the chat template may write the day's date: a run resumed on another day sees other tokens; "
            "data.template can name a copy with a fixed date",
            style="yellow",
        )
    for name, part in shown["data"].items():
        if part["trimmed_prompts"]:
            yield Text(
                f"note: {part['trimmed_prompts']} prompts of {name} lost their oldest turns", style="yellow"
            )
