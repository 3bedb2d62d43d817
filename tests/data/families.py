"""Tokenizers in the style of the model families, built here: their chat templates, control tokens and quirks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.conftest import CORPUS

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Writes an empty think block before a last reply that holds no reasoning.
QWEN3 = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last %}"
    "{% set content, reasoning = message.content, '' %}"
    "{% if '</think>' in content %}"
    "{% set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}"
    "{% else %}{{ message.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set loop_messages = messages %}{% set system = '' %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message.role == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + message.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'user' %}{{ '[INST] ' + message.content + '[/INST]' }}"
    "{% elif message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}"
    "{% set content = '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim "
    "+ '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n' "
    "+ message.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}"
    "{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{{ '<|' + message.role + '|>\n' + message.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """How one family writes conversations. strips: whether its template strips the blanks around a message."""

    template: str
    stop: str
    specials: tuple[str, ...]
    bos: str | None = None
    plain_added: tuple[str, ...] = ()  # added tokens that are not declared special
    rstrip: tuple[str, ...] = ()  # tokens that swallow the blanks behind them
    kind: str = "bytes"
    strips: bool = False
    system: bool = True
    before: str = ""  # what a completion begins with beside the reply
    after: str = ""  # what stands between reply and stop


HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TURNS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SENTENCE = ("<unk>", "<s>", "</s>")

FAMILIES = {
    "chatml": Family(CHATML, "<|im_end|>", TURNS),
    "chatml-undeclared": Family(CHATML, "<|im_end|>", ("<|endoftext|>",), plain_added=TURNS[1:]),
    "qwen3": Family(
        QWEN3, "<|im_end|>", TURNS, plain_added=("<think>", "</think>"), before="<think>\n\n</think>\n\n"
    ),
    "llama3": Family(LLAMA3, "<|eot_id|>", HEADERS, bos="<|begin_of_text|>", strips=True),
    "gemma": Family(
        GEMMA,
        "<end_of_turn>",
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        kind="blanks",
        strips=True,
        system=False,
    ),
    "llama2": Family(LLAMA2, "</s>", SENTENCE, bos="<s>", kind="first", strips=True, before=" ", after=" "),
    "mistral": Family(
        MISTRAL, "</s>", (*SENTENCE, "[INST]", "[/INST]"), bos="<s>", kind="always", system=False, before=" "
    ),
    "zephyr": Family(ZEPHYR, "</s>", SENTENCE, bos="<s>", kind="legacy"),
    "zephyr-bytes": Family(ZEPHYR, "</s>", ("<s>", "</s>"), bos="<s>"),
    "phi3": Family(
        PHI3,
        "<|end|>",
        (*SENTENCE, "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        bos="<s>",
        kind="legacy",
        rstrip=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ),
    "unigram": Family(ZEPHYR, "</s>", SENTENCE, bos="<s>", kind="unigram"),
}


def _byte_level() -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return tokenizer, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)


def _sentence_like(kind: str) -> tuple[Any, Any]:
    """As sentencepiece models come out of transformers: `▁` for blanks, bytes for unknown characters.

    kind: `first` and `always` put a `▁` before the text or before each piece between control tokens, `legacy` does
    so by a normalizer, `blanks` (Gemma) never does.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if kind in ("first", "always"):
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=kind, split=False)
    elif kind == "legacy":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind != "blanks":
        steps.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    return tokenizer, trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", *pieces], initial_alphabet=["▁"], show_progress=False
    )


def _unigram(specials: tuple[str, ...]) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="first")
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=120, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )


@cache
def build(name: str) -> Any:
    """The tokenizer of a family, of a few hundred tokens."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES[name]
    makers: dict[str, Callable[[], tuple[Any, Any]]] = {
        "bytes": _byte_level,
        "unigram": lambda: _unigram(family.specials),
    }
    tokenizer, trainer = makers.get(family.kind, lambda: _sentence_like(family.kind))()
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer = _without_added(tokenizer)
    tokenizer.add_special_tokens(
        [
            AddedToken(token, rstrip=token in family.rstrip, normalized=False, special=True)
            for token in family.specials
        ]
    )
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in family.plain_added])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.stop,
        unk_token="<unk>" if "<unk>" in family.specials else None,
        chat_template=family.template,
        clean_up_tokenization_spaces=False,
    )


def _without_added(tokenizer: Any) -> Any:
    """The same tokenizer with what its trainer added as special being plain entries of the vocabulary."""
    import json

    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(state))


def stop_ids(name: str) -> set[int]:
    """The token id at which the family's models stop."""
    return {build(name).convert_tokens_to_ids(FAMILIES[name].stop)}
