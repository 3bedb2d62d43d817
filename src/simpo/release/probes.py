"""The handful of conversations on which an export is compared with its model: the run's own data where it still is."""

from __future__ import annotations

from collections.abc import Sequence

from simpo.core.methods import METHODS
from simpo.data.render import Renderer, render_rows
from simpo.errors import CheckFailed, DataError
from simpo.recipe import Recipe
from simpo.records import Example, Message, Row, Source, TokenGroup
from simpo.release.parity import MAX_SEQUENCES, MAX_TOKENS
from simpo.train.prepare import load_data

_MAX_ROWS = 64

# Several languages, code, digits and a second turn: more of the vocabulary than one friendly sentence has.
_BUILT_IN = (
    (("user", "Where is my parcel?"), "It left our warehouse this morning and should reach you on Friday."),
    (
        ("user", "Meine Rechnung Nr. 4711 ist doppelt. Was tun?"),
        "Das tut mir leid: Ich erstatte Ihnen 29,90 € bis morgen.",
    ),
    (("user", "Write a function that adds two numbers."), "def add(a, b):\n    return a + b\n"),
    (
        ("user", "Hello!"),
        ("assistant", "Hello, how can I help you?"),
        ("user", "Résumez la politique de retour."),
        "Vous pouvez rendre un article sous 30 jours, 送料無料.",
    ),
)


def probe_groups(recipe: Recipe, renderer: Renderer) -> tuple[tuple[TokenGroup, ...], str]:
    """A few rendered rows, and what they are: the run's data, or built-in conversations when it cannot be read now.

    Raises CheckFailed when the chat template renders none of them.
    """
    per_row = 2 if METHODS[recipe.method.name].pairwise else 1
    for rows, source in (
        (_rows_of_run(recipe), "the run's data"),
        (_built_in_rows(), "built-in conversations"),
    ):
        groups = render_rows(rows, renderer).groups
        if groups:
            whole_first = sorted(groups, key=lambda group: group.longest > MAX_TOKENS)
            return tuple(whole_first[: MAX_SEQUENCES // per_row]), source
    raise CheckFailed("no conversation can be rendered, so that the export cannot be compared with the model")


def _rows_of_run(recipe: Recipe) -> Sequence[Row]:
    """The first rows of the validation data, or of the training data where no file is named for validation."""
    data = recipe.data
    few = data.model_copy(
        update={
            "train": data.validation or data.train,
            "validation": None,
            "validation_fraction": 0.0,
            "limit": _MAX_ROWS,
            "on_bad_row": "drop",
        }
    )
    try:
        return load_data(recipe.model_copy(update={"data": few}))["train"].rows
    except DataError:  # moved, removed or changed since
        return ()


def _built_in_rows() -> Sequence[Row]:
    rows = []
    for number, (*turns, reply) in enumerate(_BUILT_IN, start=1):
        prompt = tuple(Message(turn[0], turn[1]) for turn in turns)
        rows.append(Example(prompt, str(reply), Source("built-in", number)))
    return rows
