"""The checks on a rendering: they pass on every family, and each of them can fail."""

from __future__ import annotations

import numpy as np
import pytest

from simpo.data.checks import Check, check_rendering
from simpo.data.render import Renderer, render_rows
from simpo.records import Message, Pair, Source, TokenGroup
from tests.data.families import FAMILIES, LLAMA3, build, stop_ids

ROWS = [
    Pair((Message("user", "Where is it?"),), "It is here.", "No.", Source("pairs.jsonl", 1)),
    Pair((Message("user", "A </s> and <|im_end|>?"),), "They end a turn.", "No.", Source("pairs.jsonl", 2)),
]


def checked(renderer: Renderer, groups: list[TokenGroup] | None = None) -> dict[str, Check]:
    found = check_rendering(groups or render_rows(ROWS, renderer).groups, renderer)
    return dict(zip(("stop", "bos", "prompt", "control"), found, strict=True))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_passes(name: str) -> None:
    checks = checked(Renderer(build(name), stop_ids=stop_ids(name)))
    assert [check.name for check in checks.values() if not check.passed] == []
    assert FAMILIES[name].stop in checks["stop"].detail
    assert checks["prompt"].detail.startswith(("2 rows compared", "1 rows compared"))


def test_plain_text_passes() -> None:
    checks = checked(Renderer(build("chatml"), stop_ids=stop_ids("chatml"), template="none"))
    assert all(check.passed for check in checks.values())


def test_completions_that_were_tokenised_apart_are_told() -> None:
    assert (
        "2 completions were tokenised apart"
        in checked(
            Renderer(build("llama3"), stop_ids=stop_ids("llama3")),
            list(render_rows(ROWS[:1], Renderer(build("llama3"), stop_ids=stop_ids("llama3"))).groups),
        )["prompt"].detail
    )


def _with(group: TokenGroup, prompt: list[int] | None = None, chosen: list[int] | None = None) -> TokenGroup:
    return TokenGroup(
        group.prompt if prompt is None else np.array(prompt, np.int32),
        (group.completions[0] if chosen is None else np.array(chosen, np.int32), group.completions[1]),
        group.row,
    )


def test_a_missing_or_a_second_stop_token_fails() -> None:
    renderer = Renderer(build("chatml"), stop_ids=stop_ids("chatml"))
    group = render_rows(ROWS, renderer).groups[0]
    whole = group.completions[0].tolist()
    for chosen, count in ((whole[:-1], 0), ([*whole, whole[-1]], 2), ([whole[-1], *whole[:-1]], 1)):
        check = checked(renderer, [_with(group, chosen=chosen)])["stop"]
        assert (check.passed, check.detail) == (
            False,
            f"pairs.jsonl:1 has {count} stop tokens, or one not at its end",
        )


def test_two_bos_fail() -> None:
    tokenizer = build.__wrapped__("llama3")
    tokenizer.chat_template = "{{ bos_token }}" + LLAMA3
    checks = checked(Renderer(tokenizer, stop_ids=stop_ids("llama3")))
    assert not checks["bos"].passed and "pairs.jsonl:1 does, and 1 more" in checks["bos"].detail
    assert checks["stop"].passed and checks["control"].passed


def test_a_prompt_that_production_would_not_send_fails() -> None:
    renderer = Renderer(build("chatml"), stop_ids=stop_ids("chatml"))
    group = render_rows(ROWS, renderer).groups[0]
    for prompt in ([*group.prompt.tolist(), 50], group.prompt.tolist()[:-1], group.prompt.tolist()[::-1]):
        check = checked(renderer, [_with(group, prompt=prompt)])["prompt"]
        assert (check.passed, check.detail) == (
            False,
            "the tokenizer renders the prompt of pairs.jsonl:1 otherwise",
        )


def test_a_trimmed_prompt_is_not_compared_with_the_whole_one() -> None:
    turns = (Message("user", "a " * 60), Message("assistant", "b"), Message("user", "Why?"))
    renderer = Renderer(build("chatml"), stop_ids=stop_ids("chatml"), max_length=60, trim_turns=True)
    groups = render_rows([Pair(turns, "So.", "No.", Source("pairs.jsonl", 1)), ROWS[0]], renderer).groups
    check = checked(renderer, list(groups))["prompt"]
    assert check.passed and check.detail.startswith("1 rows compared")


def test_control_tokens_that_cannot_be_read_as_text_are_told() -> None:
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<|end|>": 1, "user": 2, "What": 3, "mean?": 4, "So": 5, "No": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True), AddedToken("<|end|>", special=True)])
    words_only = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        unk_token="<unk>",
        chat_template="{% for m in messages %}{{ m.role + ' ' + m.content + '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}",
    )
    row = Pair((Message("user", "What mean?"),), "So", "No", Source("pairs.jsonl", 1))
    renderer = Renderer(words_only, stop_ids={1})
    check = check_rendering(render_rows([row], renderer).groups, renderer)[3]
    assert check.passed and "rows that hold them are left out" in check.detail
