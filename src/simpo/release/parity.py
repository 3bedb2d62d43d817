"""Whether an export is the model it was made of: loaded again from disk by plain libraries, and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from simpo.errors import CheckFailed
from simpo.model.load import without_peft_warning
from simpo.recipe import ModelRecipe
from simpo.records import TokenGroup

MAX_SEQUENCES = 8
MAX_TOKENS = 512  # the logits of all sequences are held at once: 8 * 512 * 128,000 tokens * 4 bytes = 2.1 GB
_CHUNK = 64  # positions compared at a time, in float64


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an export may be from its model.

    relative_error: largest difference of a logit over the largest logit. mean_kl: KL(model || export), nats per token.
    """

    relative_error: float
    mean_kl: float


# Measured with SmolLM2-135M-Instruct after 8 steps of SimPO, 8 sequences of 1,420 tokens, relative error and mean KL:
# an adapter, or full weights as trained, 0 and 0; an adapter merged in float32 2.4e-6 and 1.1e-11; float16 of a merged
# adapter 1.1e-3 and 2.6e-6, of a full fine-tune 1.6e-2 and 1.5e-4; bfloat16 9.9e-3 and 1.2e-4, 4.5e-2 and 9.6e-4 (that
# base's own weights are short numbers, those of a full fine-tune are not). The limits are a few times the largest of
# these. At a rounded type they catch a wrong scale, a wrong position encoding, an overflow; that the merge is right and
# that every weight is the one that was to be written is checked apart, exactly.
TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(relative_error=1e-4, mean_kl=1e-6),
    "bfloat16": Tolerance(relative_error=0.15, mean_kl=0.01),
    "float16": Tolerance(relative_error=0.05, mean_kl=0.002),
}


@dataclass(frozen=True, slots=True)
class Parity:
    """What the comparison found; logits are of next tokens, over every position of every sequence.

    source: where the sequences come from. max_abs_logit: of the model in memory. mean_kl: nats per token.
    equal_argmax: share of positions with the same most likely next token. num_tensors: weights that were read back bit
    for bit. tolerance: what was allowed.
    """

    source: str
    num_sequences: int
    num_tokens: int
    max_abs_error: float
    max_abs_logit: float
    mean_kl: float
    equal_argmax: float
    num_tensors: int
    tolerance: Tolerance

    @property
    def relative_error(self) -> float:
        """The largest difference of a logit over the largest logit."""
        return self.max_abs_error / self.max_abs_logit

    def as_dict(self) -> dict[str, Any]:
        """The figures as export.json holds them."""
        return {**asdict(self), "relative_error": self.relative_error}

    def words(self) -> str:
        """The figures as one line."""
        return (
            f"largest difference of a logit {self.max_abs_error:.2g} (logits up to {self.max_abs_logit:.3g}), "
            f"mean KL {self.mean_kl:.2g} nats per token, same most likely token at {100 * self.equal_argmax:.2f} % "
            f"of {self.num_tokens} positions"
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What an export must say, taken from the model in memory before anything is written.

    sequences: [T] token ids each, with their logits [T, V] in float32. conversations: as chat templates take them.
    chat: whether the model was trained with its chat template. tokenizer: what `tokenizer_facts` says of all this.
    stop_ids: every token id that training ended replies with. settings: how to load the model. tensors: sha256 of each
    weight to be written, as float32 after its rounding.
    """

    sequences: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]
    source: str
    conversations: tuple[list[dict[str, Any]], ...]
    chat: bool
    tokenizer: Mapping[str, Any]
    stop_ids: frozenset[int]
    settings: ModelRecipe
    tolerance: Tolerance = TOLERANCES["float32"]
    tensors: Mapping[str, str] = field(default_factory=dict)


def expect(
    model: Any,
    tokenizer: Any,
    groups: Sequence[TokenGroup],
    *,
    source: str,
    stop_ids: frozenset[int],
    settings: ModelRecipe,
    chat: bool,
) -> Expected:
    """Compute what the model says of real token sequences. CheckFailed when it says nothing finite itself."""
    sequences = token_sequences(groups)
    logits = tuple(next_token_logits(model, sequences))
    if not all(bool(torch.isfinite(each).all()) for each in logits):
        raise CheckFailed(
            "the checkpoint itself computes logits that are not finite",
            fix="export an earlier checkpoint, or train again with a lower train.lr",
        )
    conversations = tuple(conversation_of(group) for group in groups)
    facts = tokenizer_facts(tokenizer, conversations, chat=chat)
    return Expected(sequences, logits, source, conversations, chat, facts, stop_ids, settings)


def token_sequences(groups: Sequence[TokenGroup]) -> tuple[Tensor, ...]:
    """The first prompts with each of their completions, [T] int64 each, cut at `MAX_TOKENS`."""
    rows = [
        torch.cat([torch.from_numpy(group.prompt), torch.from_numpy(completion)])[:MAX_TOKENS].long()
        for group in groups
        for completion in group.completions
    ]
    return tuple(rows[:MAX_SEQUENCES])


def conversation_of(group: TokenGroup) -> list[dict[str, Any]]:
    """A row's prompt and first completion as chat templates take them."""
    turns = [message.as_dict() for message in group.row.prompt]
    return [*turns, {"role": "assistant", "content": group.row.completions[0]}]


def next_token_logits(model: Any, sequences: Sequence[Tensor]) -> Iterator[Tensor]:
    """Logits [T, V] in float32 of each sequence in turn, one forward each: no padding that could differ."""
    for ids in sequences:
        with torch.inference_mode():
            logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
        yield logits


def tokenizer_facts(
    tokenizer: Any, conversations: Sequence[list[dict[str, Any]]], *, chat: bool
) -> dict[str, Any]:
    """What two equal tokenizers agree on: template, special tokens, ids of text and, with `chat`, of conversations."""
    facts: dict[str, Any] = {
        "chat template": tokenizer.get_chat_template() if tokenizer.chat_template else None,
        "special tokens": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "vocabulary": len(tokenizer),
        "token ids of text": [
            list(tokenizer(turn["content"]).input_ids) for turns in conversations for turn in turns
        ],
    }
    if chat:
        facts["token ids of prompts"] = [_chat_ids(tokenizer, turns[:-1], True) for turns in conversations]
        facts["token ids of conversations"] = [_chat_ids(tokenizer, turns, False) for turns in conversations]
    return facts


def _chat_ids(tokenizer: Any, turns: list[dict[str, Any]], generation_prompt: bool) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        turns, add_generation_prompt=generation_prompt, tokenize=True, return_dict=True
    )
    return list(encoded["input_ids"])


def tensor_hashes(model: Any, *, adapter: bool) -> dict[str, str]:
    """sha256 of every weight (for an adapter of its own alone), as float32."""
    if adapter:
        from peft import get_peft_model_state_dict

        weights = dict(get_peft_model_state_dict(model, save_embedding_layers=False))
    else:
        weights = dict(model.named_parameters())
    return {name: _tensor_hash(weight) for name, weight in weights.items()}


def _tensor_hash(weight: Tensor) -> str:
    values: Any = weight.detach().float().contiguous().numpy()
    return hashlib.sha256(values).hexdigest()


def check_parity(
    folder: Path, expected: Expected, *, base: Path | None = None, where: str | None = None
) -> Parity:
    """Load an export by transformers alone (for an adapter by peft onto `base`) and compare it with what is expected.

    Raises CheckFailed, with the figures, when it cannot be loaded or anything differs: a weight, the logits beyond the
    tolerance, a token id, the chat template, a stop token that the generation config lacks.
    """
    where = where or str(folder)
    try:
        model, tokenizer, stops = _load_plain(folder, base, expected.settings)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckFailed(f"the export cannot be loaded again: {reason}", where=where) from error
    hashes = tensor_hashes(model, adapter=base is not None)
    parity = compare(expected, next_token_logits(model, expected.sequences), len(hashes))
    wrong = [*_different_weights(expected, hashes), *_beyond_tolerance(parity)]
    facts = tokenizer_facts(tokenizer, expected.conversations, chat=expected.chat)
    wrong += [
        f"{name} of the tokenizer differ"
        for name in expected.tokenizer
        if facts[name] != expected.tokenizer[name]
    ]
    lacking = sorted(expected.stop_ids - stops)
    if lacking:
        wrong.append(f"generation would not stop at token ids {lacking}")
    if wrong:
        raise CheckFailed(
            f"the export is not the model it was made of: {'; '.join(wrong)} ({parity.words()})",
            where=where,
            fix="export again; if it fails again with --dtype float32, report it with these figures",
        )
    return parity


def _load_plain(folder: Path, base: Path | None, settings: ModelRecipe) -> tuple[Any, Any, set[int]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    code = settings.trust_remote_code
    # A base is loaded in the type that the run held it in; the rounding that this may be is part of the trained model.
    model, loading = AutoModelForCausalLM.from_pretrained(
        base or folder,
        dtype=torch.float32 if base is None else getattr(torch, settings.dtype),
        attn_implementation=settings.attention,
        trust_remote_code=code,
        use_safetensors=True,
        output_loading_info=True,
    )
    if loading["missing_keys"]:
        raise ValueError(f"it lacks the weights {', '.join(sorted(loading['missing_keys'])[:3])}")
    if base is not None:
        from peft import PeftModel

        with without_peft_warning():
            model = PeftModel.from_pretrained(model, str(folder))
    eos = GenerationConfig.from_pretrained(folder).eos_token_id
    stops = set(eos) if isinstance(eos, list) else {eos}
    return model.float().eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=code), stops


def compare(expected: Expected, logits: Iterable[Tensor], num_tensors: int) -> Parity:
    """The figures of two sets of logits; a figure that is not a number stays one, and is within no tolerance."""
    error = largest = kl = 0.0
    equal = positions = 0
    for model, export in zip(expected.logits, logits, strict=True):
        for start in range(0, len(model), _CHUNK):
            p, q = model[start : start + _CHUNK], export[start : start + _CHUNK]
            error = _larger(error, float((p - q).abs().max()))
            largest = _larger(largest, float(p.abs().max()))
            log_p, log_q = p.double().log_softmax(-1), q.double().log_softmax(-1)
            kl += float((log_p.exp() * (log_p - log_q)).sum())
            equal += int((p.argmax(-1) == q.argmax(-1)).sum())
            positions += len(p)
    return Parity(
        expected.source,
        len(expected.sequences),
        positions,
        error,
        largest,
        max(kl / positions, 0.0) if kl == kl else kl,  # rounding may leave a KL of zero a little below it
        equal / positions,
        num_tensors,
        expected.tolerance,
    )


def require_same_merged(model: Any, expected: Expected) -> None:
    """CheckFailed when an adapter that was merged in float32 does not say what it said beside its base."""
    parity = compare(expected, next_token_logits(model, expected.sequences), 0)
    wrong = _beyond_tolerance(replace(parity, tolerance=TOLERANCES["float32"]))
    if wrong:
        raise CheckFailed(
            f"merging changed the model: {'; '.join(wrong)} ({parity.words()})",
            fix="export with --kind adapter, and report it with these figures",
        )


def _larger(a: float, b: float) -> float:
    return b if b > a or b != b else a


def _different_weights(expected: Expected, hashes: Mapping[str, str]) -> list[str]:
    names = sorted(
        name for name in {*expected.tensors, *hashes} if expected.tensors.get(name) != hashes.get(name)
    )
    if not names:
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return [f"weight {names[0]}{more} differs from what was written"]


def _beyond_tolerance(parity: Parity) -> list[str]:
    allowed = parity.tolerance
    wrong = []
    if not parity.relative_error <= allowed.relative_error:
        wrong.append(
            f"logits differ by {parity.relative_error:.2g} of the largest, allowed {allowed.relative_error:g}"
        )
    if not parity.mean_kl <= allowed.mean_kl:
        wrong.append(f"KL is {parity.mean_kl:.2g} nats per token, allowed {allowed.mean_kl:g}")
    return wrong
