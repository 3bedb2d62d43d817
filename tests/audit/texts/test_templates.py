"""Chat templates inside of texts: control tokens, leaked turns, transcripts, several templates in one file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.mend import mend
from simpo.audit.texts.templates import (
    CONTROL,
    Templates,
    family_of,
    is_transcript,
    leaked_turn,
    without_control_tokens,
)
from tests.audit.made import found_by, pair

MARKS = {
    "<|im_start|>": "ChatML",
    "<|im_end|>": "ChatML",
    "<|eot_id|>": "Llama 3",
    "<|start_header_id|>": "Llama 3",
    "[INST]": "Llama 2 / Mistral",
    "[/INST]": "Llama 2 / Mistral",
    "<<SYS>>": "Llama 2 / Mistral",
    "<start_of_turn>": "Gemma",
    "<\uff5cend\u2581of\u2581sentence\uff5c>": "DeepSeek",
    "<|assistant|>": "Zephyr / Phi",
    "<|END_OF_TURN_TOKEN|>": "Cohere",
    "<|channel|>": "gpt-oss",
    "<|endoftext|>": "GPT",
}


@pytest.mark.parametrize(("mark", "family"), MARKS.items())
def test_each_mark_is_found_in_each_text_and_belongs_to_its_family(mark: str, family: str) -> None:
    text = f"It left {mark} Lyon."
    for side, one in {
        "prompt": pair(text),
        "chosen": pair(chosen=text),
        "rejected": pair(rejected=text),
    }.items():
        finding = found_by(Templates(), one)["control_tokens"]
        assert finding.figures == {"tokens": {mark: 1}, "texts": {side: 1}}
    match = CONTROL.search(mark)
    assert match is not None
    assert family_of(match) == family


@pytest.mark.parametrize(
    "text", ["</s>", "It left Lyon.</s>", "<s>It left Lyon.", "<s> It left.</s>", "It left.</s>\n"]
)
def test_sentence_ends_are_control_tokens_at_the_ends_of_a_text(text: str) -> None:
    assert "control_tokens" in found_by(Templates(), pair(chosen=text))


@pytest.mark.parametrize(
    "text",
    [
        "<s>struck</s> through",
        "a < b | c > d, [1], [a](b), <b>bold</b>, x <- y |> f(z), <p>",
        "[INSTALL] the lamp",
        "<user> and <assistant>",
    ],
)
def test_markup_formulas_and_code_are_no_control_tokens(text: str) -> None:
    assert found_by(Templates(), pair(chosen=text, prompt=text)) == {}


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("It left Lyon.<|im_end|>", "It left Lyon."),
        ("It left Lyon. </s>\n", "It left Lyon."),
        ("<|im_start|>assistant\nIt left Lyon.<|im_end|>\n<|endoftext|>", "It left Lyon."),
        ("<start_of_turn>model\nIt left.<end_of_turn>", "It left."),
        ("<s>[INST] Where is it? [/INST]", "Where is it?"),
    ],
)
def test_marks_at_the_ends_of_a_text_are_removed_with_the_name_of_the_role(text: str, mended: str) -> None:
    assert without_control_tokens(text) == mended


def test_a_pair_with_marks_inside_of_a_text_or_with_nothing_else_cannot_be_mended() -> None:
    inside = "It left.<|im_end|>\n<|im_start|>user\nThanks"
    with pytest.raises(ValueError, match="inside of a text"):
        mend("control_tokens", pair(chosen=inside))
    with pytest.raises(ValueError, match="nothing is left"):
        mend("control_tokens", pair(rejected="<|im_end|>"))


@given(st.text(max_size=30), st.lists(st.sampled_from(sorted(MARKS)), max_size=3), st.booleans())
def test_removing_marks_leaves_none_and_no_other_text(text: str, marks: list[str], at_start: bool) -> None:
    joined = "".join(marks)
    whole = joined + text if at_start else text + joined
    if not CONTROL.search(text) and (not marks or len(CONTROL.findall(whole)) == len(marks)):
        mended = without_control_tokens(whole)
        assert not CONTROL.search(mended)
        assert mended.strip() in (text.strip(), text.strip().removeprefix("user").strip())


@pytest.mark.parametrize(
    "completion",
    [
        "It left Lyon.\n\nHuman: And then?",
        "It left Lyon.\n\n### Human: And then?\n### Assistant: It comes.",
        "It left Lyon.\n### Instruction: And then?",
        "It left.\nHuman: And then?\nAssistant: It comes.",
        "Assistant: It left Lyon.",
        "### Response:\nIt left Lyon.",
    ],
)
def test_a_completion_that_speaks_for_another_has_leaked(completion: str) -> None:
    finding = found_by(Templates(), pair(chosen=completion))["leaked_turns"]
    assert (finding.severity, finding.repair) == ("warning", "drop")
    assert leaked_turn(completion, "Write a dialogue between a human and an assistant.") is None
    assert leaked_turn(completion, "Human: Where is it?\nAssistant:") is None


@pytest.mark.parametrize(
    "completion",
    [
        "Human rights matter.",
        "# Response\n\nIt left.",
        "The assistant: a novel",
        "User: name\nPassword: none",
        "a\n\nQuestion 1",
    ],
)
def test_headings_and_words_are_no_leaked_turns(completion: str) -> None:
    assert found_by(Templates(), pair(chosen=completion)) == {}


def test_a_dialogue_in_one_turn_that_waits_for_the_assistant_is_a_transcript() -> None:
    assert is_transcript("Human: Where is it?\nAssistant: In Lyon.\nHuman: And now?\nAssistant:")
    assert is_transcript("Below is a task.\n\n### Instruction:\nWhere is it?\n\n### Response:\n")
    assert not is_transcript("Question: how many?\nAnswer:")
    assert not is_transcript("Human: Where is it?\nAssistant: In Lyon.")
    assert not is_transcript("Write a reply.\nAssistant:")
    assert "transcript_prompt" in found_by(Templates(), pair("USER: Where?\nASSISTANT:"))


def test_marks_of_two_templates_in_one_file_are_mixed_and_of_one_are_not() -> None:
    chatml, llama = pair(chosen="a<|im_end|>"), pair(chosen="[INST] b")
    assert "mixed_templates" not in found_by(Templates(), chatml, chatml)
    assert "mixed_templates" not in found_by(Templates(), chatml, pair(chosen="c<|endoftext|>"))
    mixed = found_by(Templates(), chatml, llama, llama)["mixed_templates"]
    assert mixed.figures["families"] == {"ChatML": 1, "Llama 2 / Mistral": 2}
    assert mixed.title == "The texts hold markers of 2 chat templates: Llama 2 / Mistral in 2, ChatML in 1."
