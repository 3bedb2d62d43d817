"""Rendering: the prompt as production sees it, the completion as the model would write it, one stop, no lost text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simpo.data.render import Rendered, Renderer, check_groups, render_rows, rendering_json
from simpo.data.template import REASONS
from simpo.errors import DataError, RecipeError
from simpo.records import Dropped, Example, Message, Pair, Source, TokenGroup
from tests.data.families import CHATML, FAMILIES, build, stop_ids

SOURCE = Source("pairs.jsonl", 7)
NAMES = sorted(FAMILIES)
FAITHFUL = [name for name in NAMES if FAMILIES[name].kind != "unigram"]  # decode gives back any text


def renderer(name: str = "chatml", **options: Any) -> Renderer:
    return Renderer(build(name), stop_ids=options.pop("stop_ids", stop_ids(name)), **options)


def pair(
    prompt: str | tuple[Message, ...] = "Where is my parcel?",
    chosen: str = "It is here.",
    rejected: str = "No.",
) -> Pair:
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    return Pair(turns, chosen, rejected, SOURCE)


def rendered(result: TokenGroup | Dropped) -> TokenGroup:
    assert isinstance(result, TokenGroup), result
    return result


def dropped(result: TokenGroup | Dropped) -> Dropped:
    assert isinstance(result, Dropped), result
    return result


def text_of(tokenizer: Any, ids: Any) -> str:
    listed = [int(token) for token in ids]
    return str(tokenizer.decode(listed, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def production(tokenizer: Any, prompt: str) -> list[int]:
    turns = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)
    return [int(token) for token in ids]


def assert_one_stop_at_the_end(group: TokenGroup, stops: set[int]) -> None:
    for completion in group.completions:
        assert [int(token) in stops for token in completion] == [False] * (len(completion) - 1) + [True]


# The families


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt_is_what_production_sends(name: str) -> None:
    group = rendered(renderer(name).render(pair("Where is my parcel?\n\nIt is late.")))
    assert group.prompt.tolist() == production(build(name), "Where is my parcel?\n\nIt is late.")
    assert group.prompt.dtype == np.int32


@pytest.mark.parametrize("name", NAMES)
def test_a_completion_ends_in_its_one_stop_token_and_holds_no_header(name: str) -> None:
    group = rendered(renderer(name).render(pair()))
    assert_one_stop_at_the_end(group, stop_ids(name))


@pytest.mark.parametrize("name", FAITHFUL)
def test_prompt_and_completion_read_as_the_template_writes_them(name: str) -> None:
    tokenizer, family = build(name), FAMILIES[name]
    group = rendered(renderer(name).render(pair(chosen="I am sorry.  It is late.")))
    whole = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "Where is my parcel?"},
            {"role": "assistant", "content": "I am sorry.  It is late."},
        ],
        tokenize=False,
    )
    read = text_of(tokenizer, [*group.prompt, *group.completions[0]])
    wanted = text_of(tokenizer, tokenizer(whole, add_special_tokens=False).input_ids)
    assert wanted.startswith(read)
    assert read.endswith(f"{family.before}I am sorry.  It is late.{family.after}{family.stop}")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("llama3", "unigram")])
def test_the_tokens_are_those_of_the_whole_conversation(name: str) -> None:
    tokenizer = build(name)
    group = rendered(renderer(name).render(pair()))
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "It is here."}],
        tokenize=True,
        return_dict=False,
    )
    mine = [*group.prompt.tolist(), *group.completions[0].tolist()]
    assert mine == whole[: len(mine)]


@pytest.mark.parametrize("name", [name for name in NAMES if FAMILIES[name].bos])
def test_no_prompt_begins_with_two_bos(name: str) -> None:
    tokenizer = build(name)
    group = rendered(renderer(name).render(pair()))
    assert group.prompt.tolist().count(tokenizer.bos_token_id) <= 1
    check_groups([group], renderer(name))


def test_a_system_turn_is_kept_where_the_template_takes_one() -> None:
    turns = (Message("system", "Be brief."), Message("user", "Why?"))
    for name in NAMES:
        result = renderer(name).render(pair(turns))
        if FAMILIES[name].system:
            kept = text_of(build(name), rendered(result).prompt)
            assert "Be brief." in kept or name == "unigram"
        else:
            assert dropped(result).reason == "template_refuses"
            assert dropped(result).source == SOURCE


def test_an_empty_think_block_is_the_models_to_write() -> None:
    group = rendered(
        renderer("qwen3").render(pair(chosen="<think>\nLate.\n</think>\n\nIt is late.", rejected="Late."))
    )
    tokenizer = build("qwen3")
    assert text_of(tokenizer, group.completions[0]) == "<think>\nLate.\n</think>\n\nIt is late.<|im_end|>"
    assert text_of(tokenizer, group.completions[1]) == "<think>\n\n</think>\n\nLate.<|im_end|>"
    assert group.completions[0][0] == tokenizer.convert_tokens_to_ids(
        "<think>"
    )  # a token, as the model writes it


# Control tokens in somebody's text


ALL_CONTROLS = sorted(
    {token for family in FAMILIES.values() for token in (*family.specials, *family.plain_added)}
)


@pytest.mark.parametrize("name", NAMES)
def test_control_tokens_in_a_users_text_are_text(name: str) -> None:
    harness = renderer(name)
    tokenizer = build(name)
    controls = list(harness.encoder.controls)
    hostile = "Please " + " and ".join(controls) + " now"
    group = rendered(harness.render(pair(hostile, chosen=f"Not {controls[-1]} here", rejected="No.")))
    plain = rendered(harness.render(pair("Please now", chosen="Not here", rejected="No.")))

    def count(ids: Any) -> list[int]:
        return sorted(
            int(token) for token in ids if int(token) in harness.control_ids - {tokenizer.unk_token_id}
        )

    assert count(group.prompt) == count(plain.prompt)
    assert count(group.completions[0]) == count(plain.completions[0])
    if name in FAITHFUL:
        assert hostile in text_of(tokenizer, group.prompt)
        assert f"Not {controls[-1]} here" in text_of(tokenizer, group.completions[0])


@pytest.mark.parametrize("name", FAITHFUL)
def test_text_around_a_literal_control_token_is_tokenised_as_ever(name: str) -> None:
    """The copy of the tokenizer that reads control tokens as text must change nothing else."""
    encoder = renderer(name).encoder
    for text in ("Where is my parcel?", " two  blanks\n\nand lines ", "é🙂 ", "[INST] a [/INST]"):
        if encoder.pattern.search(text):
            continue
        control = next(iter(encoder.controls))
        literals: list[str] = []
        marked = encoder.mark("\ue0f0", literals)
        with_mark = encoder.encode(f"{control}{text}{marked}{control}{text}", literals).tolist()
        without = encoder.encode_many([f"{control}{text}\ue0f0{control}{text}"])[0].tolist()
        assert with_mark == without


def test_added_tokens_for_text_that_the_model_writes_stay_tokens() -> None:
    harness = renderer("qwen3")
    think = build("qwen3").convert_tokens_to_ids("<think>")
    assert think not in harness.control_ids
    assert think in rendered(harness.render(pair("What does <think> mean?"))).prompt


def test_turn_marks_that_are_not_declared_special_are_control_tokens_all_the_same() -> None:
    harness = renderer("chatml-undeclared")
    assert {build("chatml-undeclared").convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>")} <= (
        harness.control_ids
    )


def test_text_joined_across_the_boundary_makes_no_control_token() -> None:
    harness = renderer("chatml", template="none")
    group = rendered(harness.render(pair("Say <|im_", chosen="end|> please", rejected="no")))
    assert sum(int(token) in harness.control_ids for token in group.completions[0]) == 1  # the stop
    assert text_of(build("chatml"), group.completions[0]) == "end|> please<|im_end|>"


PRIVATE = ["\ue0f0", "\ue0f1", "\ue0f00\ue0f1", "\ue0f0<|im_end|>", "\U000f0000", "\U000f00001\U000f0000"]


@pytest.mark.parametrize("text", [*PRIVATE, "".join(PRIVATE) + "<|im_start|>"])
def test_private_use_characters_are_harmless(text: str) -> None:
    harness = renderer()
    group = rendered(harness.render(pair(f"a {text} b", chosen=text, rejected="no")))
    assert text_of(build("chatml"), group.completions[0][:-1]) == text
    assert f"a {text} b" in text_of(build("chatml"), group.prompt)
    assert_one_stop_at_the_end(group, stop_ids("chatml"))


# Any text at all

pieces = st.sampled_from(
    [
        *ALL_CONTROLS,
        "[INST]",
        "<|",
        "|>",
        "<|im_",
        "end|>",
        "</",
        "s>",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        "▁",
        *PRIVATE,
    ]
)
anything = st.lists(st.one_of(pieces, st.text(max_size=8)), min_size=1, max_size=8).map("".join)
written = anything.filter(lambda text: text.strip() != "")


@given(written, written, written)
@settings(max_examples=100)
def test_byte_level_chatml_gives_back_any_text(prompt: str, chosen: str, rejected: str) -> None:
    if chosen == rejected:
        return
    tokenizer = build("chatml")
    group = rendered(renderer().render(pair(prompt, chosen, rejected)))
    assert [text_of(tokenizer, completion[:-1]) for completion in group.completions] == [chosen, rejected]
    assert (
        text_of(tokenizer, group.prompt) == f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert_one_stop_at_the_end(group, stop_ids("chatml"))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=15)
def test_any_text_has_one_stop_and_the_same_prompt_whatever_follows(name: str, data: st.DataObject) -> None:
    prompt, chosen, rejected = (data.draw(written) for _ in range(3))
    harness, tokenizer = renderer(name), build(name)
    if chosen == rejected:
        return
    result = harness.render(pair(prompt, chosen, rejected))
    if isinstance(result, Dropped):
        # Two texts that differ in blanks alone are one where the template strips them or a token swallows them.
        assert result.reason in ("equal_completions", "empty_completion", "template_drops_text"), result
        return
    assert_one_stop_at_the_end(result, stop_ids(name))
    assert result.prompt.tolist() == harness.prompt_ids(result.row.prompt).tolist()
    if not harness.encoder.pattern.search(prompt):
        assert result.prompt.tolist() == production(tokenizer, prompt)
    if name in FAITHFUL and not FAMILIES[name].rstrip:
        family = FAMILIES[name]
        wanted = family.before + (chosen.strip() if family.strips else chosen) + family.after
        read = text_of(tokenizer, [*result.prompt, *result.completions[0][:-1]])
        # To sentencepiece models ▁ is a blank; Qwen3's template sets the blank lines around reasoning itself.
        assert (
            read.endswith(wanted if family.kind == "bytes" else wanted.replace("▁", " ")) or name == "qwen3"
        )


@given(st.lists(st.tuples(written, written), min_size=1, max_size=6))
@settings(max_examples=40)
def test_rows_rendered_together_are_rows_rendered_alone(drawn: list[tuple[str, str]]) -> None:
    rows = [pair(prompt, chosen, chosen + "!") for prompt, chosen in drawn]
    harness = renderer()
    together = render_rows(rows, harness)
    alone = [harness.render(row) for row in rows]
    assert len(together.groups) == len(rows)
    for one, other in zip(together.groups, alone, strict=True):
        assert one.prompt.tolist() == rendered(other).prompt.tolist()
        assert [c.tolist() for c in one.completions] == [c.tolist() for c in rendered(other).completions]


# The boundary between prompt and completion


def test_parts_that_would_merge_are_tokenised_apart_and_counted() -> None:
    harness = renderer("chatml", template="none")
    tokenizer = build("chatml")
    merging = pair("Please ref", chosen="und one", rejected="use")
    whole = tokenizer("Please refund one", add_special_tokens=False).input_ids
    prompt = tokenizer("Please ref", add_special_tokens=False).input_ids
    assert whole[: len(prompt)] != prompt  # the premise
    out = render_rows([merging, pair("Why?\n", chosen="Because.", rejected="No.")], harness)
    assert out.groups[0].prompt.tolist() == prompt
    assert text_of(tokenizer, out.groups[0].completions[0]) == "und one<|im_end|>"
    assert out.merged_boundaries == 2


@pytest.mark.parametrize("name", ["llama2", "mistral", "zephyr", "gemma"])
@pytest.mark.parametrize("reply", ["und one", " and one", "\n\nand", "  two"])
def test_apart_or_not_no_blank_is_gained_or_lost_between_prompt_and_reply(name: str, reply: str) -> None:
    harness = renderer(name, template="none")
    group = rendered(harness.render(pair("Please ref", chosen=reply, rejected="use")))
    read = text_of(build(name), [*group.prompt, *group.completions[0][:-1]])
    assert read == "Please ref" + reply


def test_plain_text_gets_the_bos_that_the_tokenizer_adds_once() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = build.__wrapped__("llama2")
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    harness = Renderer(tokenizer, stop_ids=stop_ids("llama2"), template="none")
    group = rendered(harness.render(pair("The capital of France is", chosen=" Paris.", rejected=" Rome.")))
    assert group.prompt.tolist() == tokenizer("The capital of France is").input_ids
    assert group.prompt.tolist().count(bos) == 1
    assert bos not in group.completions[0]
    assert_one_stop_at_the_end(group, stop_ids("llama2"))


def test_plain_text_takes_no_conversation() -> None:
    harness = renderer(template="none")
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert dropped(harness.render(pair(turns))).reason == "needs_template"


def test_a_prompt_without_tokens_is_left_out() -> None:
    assert dropped(renderer(template="none").render(pair(""))).reason == "empty_prompt"


# Templates that would teach the wrong thing


def rejects(template: str, tmp_path: Path, name: str = "chatml", **options: Any) -> RecipeError:
    path = tmp_path / "chat.jinja"
    path.write_text(template)
    with pytest.raises(RecipeError) as caught:
        renderer(name, template=str(path), **options)
    return caught.value


def test_a_template_whose_end_token_is_no_stop_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        renderer("chatml", stop_ids={build("chatml").convert_tokens_to_ids("<|endoftext|>")})
    assert "<|im_end|>, but the model stops only at <|endoftext|>" in caught.value.message
    assert "generation_config.json" in str(caught.value.fix)


def test_a_template_whose_end_is_no_token_of_the_model_is_refused(tmp_path: Path) -> None:
    error = rejects(CHATML, tmp_path, name="zephyr-bytes")
    assert "'<|im_end|>', which is no token of this model" in error.message
    assert error.where == str(tmp_path / "chat.jinja")


def test_a_template_without_generation_prompt_that_writes_a_header_is_refused(tmp_path: Path) -> None:
    error = rejects(CHATML.replace("{% if add_generation_prompt %}", "{% if false %}"), tmp_path)
    assert "no generation prompt" in error.message and "<|im_start|>assistant" in error.message


def test_a_template_that_is_no_jinja_is_refused_with_its_line(tmp_path: Path) -> None:
    error = rejects("{% for message in messages %}\n{{ message.content }\n{% endfor %}", tmp_path)
    assert "not valid Jinja" in error.message
    assert error.where == f"{tmp_path / 'chat.jinja'}:2"


def test_a_template_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.jinja"):
        with pytest.raises(RecipeError, match="cannot read the chat template") as caught:
            renderer(template=str(path))
        assert caught.value.where == str(path)


def test_a_tokenizer_without_chat_template_is_refused() -> None:
    tokenizer = build.__wrapped__("chatml")
    tokenizer.chat_template = None
    with pytest.raises(RecipeError, match="no chat template") as caught:
        Renderer(tokenizer, stop_ids=stop_ids("chatml"))
    assert "none" in str(caught.value.fix)


def test_a_model_without_stop_token_is_refused() -> None:
    with pytest.raises(RecipeError, match="names no stop token"):
        renderer(stop_ids=set())


def test_a_jinja_file_stands_in_for_the_models_template(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(CHATML.replace("assistant\n", "assistant\n\n"))
    with pytest.raises(RecipeError) as caught:
        renderer("chatml", template=str(tmp_path / "other.jinja"))
    assert caught.value.exit_status == 2
    path.write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    group = rendered(renderer("chatml", template=str(path)).render(pair("Why?", "So.", "No.")))
    assert text_of(build("chatml"), group.prompt) == "user: Why?<|im_end|>\nassistant: "
    assert text_of(build("chatml"), group.completions[0]) == "So.<|im_end|>"


def test_a_template_that_writes_no_stop_gets_one_right_after_the_reply(tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    group = rendered(renderer("chatml", template=str(path)).render(pair("Why?", "So.", "No.\n")))
    assert [text_of(build("chatml"), c) for c in group.completions] == ["So.<|im_end|>", "No.\n<|im_end|>"]


def test_what_a_template_writes_after_the_stop_is_not_scored(tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(CHATML.replace("<|im_end|>\n", "<|im_end|><|endoftext|>\n"))
    tokenizer = build("chatml")
    stops = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")}
    group = rendered(
        renderer("chatml", template=str(path), stop_ids=stops).render(pair("Why?", "So.", "No."))
    )
    assert text_of(tokenizer, group.completions[0]) == "So.<|im_end|>"
    assert_one_stop_at_the_end(group, stops)


ROW_FAULTS: dict[str, Callable[[str], str]] = {
    "template_rewrites_prompt": lambda t: t.replace(
        "{{ message.content }}", "{{ message.content }}{% if messages[-1].role == 'assistant' %} {% endif %}"
    ),
    "template_drops_text": lambda t: t.replace(
        "{{ message.content }}", "{{ message.content.split('</think>')[-1] }}"
    ),
    "several_stops": lambda t: t.replace(
        "{{ message.content }}", "{{ message.content | replace('</think>', '<|im_end|>') }}"
    ),
    "template_refuses": lambda t: (
        "{% if messages | length > 1 %}{{ messages[0].content + 1 }}{% endif %}" + t
    ),
}


@pytest.mark.parametrize("reason", sorted(ROW_FAULTS))
def test_a_row_that_a_template_would_distort_is_left_out_and_named(reason: str, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(ROW_FAULTS[reason](CHATML))
    result = dropped(renderer("chatml", template=str(path)).render(pair("Why?", "Think</think>So.", "No.")))
    assert result.reason == reason
    assert result.source == SOURCE
    assert reason in REASONS


def test_completions_that_the_template_makes_equal_or_empty_are_left_out() -> None:
    harness = renderer("llama3")
    assert dropped(harness.render(pair("Why?", "So.", "So. "))).reason == "equal_completions"
    assert dropped(harness.render(pair("Why?", "So.", " \n"))).reason == "empty_completion"


def test_a_stop_that_a_text_can_hold_is_not_cut_at() -> None:
    tokenizer = build("chatml")
    newline = int(tokenizer("\n", add_special_tokens=False).input_ids[0])
    harness = renderer(stop_ids=stop_ids("chatml") | {newline})
    assert dropped(harness.render(pair("Why?", "So\nit is.", "No."))).reason == "several_stops"


# Rows that are too long


def test_a_row_that_does_not_fit_is_left_out_whole() -> None:
    row = pair("Why?", "Because. " * 30, "No.")
    length = rendered(renderer().render(row)).longest
    assert isinstance(renderer(max_length=length).render(row), TokenGroup)
    result = dropped(renderer(max_length=length - 1).render(row))
    assert result.reason == "overlong"
    assert f"{length} tokens" in result.detail and row.id in result.detail


def test_a_row_that_does_not_fit_is_an_error_where_asked() -> None:
    with pytest.raises(DataError) as caught:
        renderer(max_length=5, overlong="error").render(pair())
    assert caught.value.where == "pairs.jsonl:7"
    assert "data.trim_turns" in str(caught.value.fix)


CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "First question, long ago."),
    Message("assistant", "First answer."),
    Message("user", "Second question."),
    Message("assistant", "Second answer."),
    Message("tool", "Found nothing."),
    Message("user", "Last question?"),
)


def test_trimming_takes_whole_oldest_exchanges_and_keeps_system_and_last_question() -> None:
    row = pair(CONVERSATION)
    lengths = {
        count: rendered(renderer().render(pair((CONVERSATION[0], *CONVERSATION[start:])))).longest
        for count, start in ((0, 1), (1, 3), (2, 6))
    }
    for count, start in ((0, 1), (1, 3), (2, 6)):
        harness = renderer(max_length=lengths[count], trim_turns=True)
        out = render_rows([row], harness)
        kept = harness.prompt_ids((CONVERSATION[0], *CONVERSATION[start:]))
        assert out.groups[0].prompt.tolist() == kept.tolist()
        assert out.groups[0].row is row
        assert out.trimmed_prompts == (count > 0)
    shorter = renderer(max_length=lengths[2] - 1, trim_turns=True)
    out = render_rows([row], shorter)
    assert [result.reason for result in out.dropped] == ["overlong"]
    assert (out.trimmed_prompts, out.merged_boundaries) == (0, 0)


def test_trimming_keeps_a_system_turn_that_stands_within() -> None:
    turns = (Message("user", "a " * 50), Message("system", "Now brief."), Message("user", "b"))
    harness = renderer(max_length=60, trim_turns=True)
    prompt = text_of(build("chatml"), rendered(harness.render(pair(turns))).prompt)
    assert "Now brief." in prompt and "a a" not in prompt


# Many rows


def test_every_row_is_either_rendered_or_named() -> None:
    rows = [pair("Why?", "So.", "No."), pair("Why?", "So. " * 99, "No."), pair("Who?", "I.", "No.")]
    counts: list[int] = []
    out = render_rows(rows, renderer(max_length=60), counts.append)
    assert [group.row for group in out.groups] == [rows[0], rows[2]]
    assert [(row.reason, row.source) for row in out.dropped] == [("overlong", SOURCE)]
    assert counts[-1] == 3
    assert render_rows([], renderer()) == Rendered((), (), 0, 0)


def test_an_example_has_one_completion() -> None:
    example = Example((Message("user", "Why?"),), "Because.", SOURCE)
    group = rendered(renderer().render(example))
    assert [text_of(build("chatml"), c) for c in group.completions] == ["Because.<|im_end|>"]


def test_a_prompt_that_the_template_refuses_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="System role not supported"):
        renderer("gemma").prompt_ids((Message("system", "Be brief."), Message("user", "Why?")))


def _group(prompt: list[int], *completions: list[int]) -> TokenGroup:
    arrays = tuple(np.array(ids, np.int32) for ids in completions)
    return TokenGroup(np.array(prompt, np.int32), arrays, pair())


def test_the_last_check_names_the_row_that_breaks_a_rule() -> None:
    harness = renderer("llama3")
    tokenizer = build("llama3")
    bos, stop = tokenizer.bos_token_id, tokenizer.eos_token_id
    check_groups([_group([bos, 50], [51, stop])], harness)
    for group, message in (
        (_group([bos, bos, 50], [51, stop]), "two BOS"),
        (_group([bos, 50], [51, stop, stop]), "2 stop tokens"),
        (_group([bos, 50], [51, 52]), "0 stop tokens"),
        (_group([bos, 50], [stop, 52]), "1 stop tokens"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            check_groups([group], harness)
        assert caught.value.where == "pairs.jsonl:7"


def test_tokens_are_shown_with_their_text_and_what_they_are() -> None:
    harness = renderer()
    group = rendered(harness.render(pair("Wo ist München? 🙂", "Hier 🙂.", "Nein.")))
    shown = rendering_json([group], harness)["pairs"][0]
    assert shown["source"] == "pairs.jsonl:7"
    for name, ids in (
        ("prompt", group.prompt),
        ("chosen", group.completions[0]),
        ("rejected", group.completions[1]),
    ):
        assert "".join(token["text"] for token in shown[name]) == text_of(build("chatml"), ids)
        assert [token["special"] for token in shown[name]] == [int(i) in harness.control_ids for i in ids]
    assert [token["stop"] for token in shown["chosen"]][-2:] == [False, True]


@pytest.mark.parametrize("name", FAITHFUL)
@given(text=written)
@settings(max_examples=15)
def test_texts_of_tokens_join_to_the_text_of_all(name: str, text: str) -> None:
    from simpo.data.tokens import token_texts

    tokenizer = build(name)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == text_of(tokenizer, ids)


# Real tokenizer, real dialogues


@pytest.mark.model
def test_real_dialogues_render_as_the_models_own_template_writes_them(smollm2: Path, test_data: Path) -> None:
    from transformers import AutoTokenizer

    from simpo.data.read import read_rows

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    dataset = read_rows(
        str(test_data / "hh_harmless_raw.jsonl.gz"), kind="pairs", on_bad_row="drop", limit=40
    )
    harness = Renderer(tokenizer, stop_ids={tokenizer.eos_token_id})
    out = render_rows(dataset.rows, harness)
    assert not out.dropped
    check_groups(out.groups, harness)
    for group in out.groups:
        turns = [message.as_dict() for message in group.row.prompt]
        for text, completion in zip(group.row.completions, group.completions, strict=True):
            whole = tokenizer.apply_chat_template(
                [*turns, {"role": "assistant", "content": text}], tokenize=True, return_dict=False
            )
            assert [*group.prompt.tolist(), *completion.tolist()] == whole[
                : len(group.prompt) + len(completion)
            ]
            assert tokenizer.decode(completion[:-1]) == text
