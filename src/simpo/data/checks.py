"""What rendered rows must satisfy, seen from outside: by the tokenizer's own rendering, and with a hostile text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simpo.data.render import Renderer, begins_with_two_bos
from simpo.records import Dropped, Example, Row, TokenGroup

MAX_COMPARED = 200  # rows that are rendered a second time by the tokenizer itself


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: its name, whether it does, and on what that stands or which row breaks it."""

    name: str
    passed: bool
    detail: str


def check_rendering(groups: Sequence[TokenGroup], renderer: Renderer) -> list[Check]:
    """One stop token, no double BOS, prompts as production sends them, control tokens in texts as text.

    groups: what `renderer` made of some rows, at least one.
    """
    return [
        _check_stops(groups, renderer),
        _check_bos(groups, renderer),
        _check_prompts(groups, renderer),
        _check_controls(groups[0].row, renderer),
    ]


def _check_stops(groups: Sequence[TokenGroup], renderer: Renderer) -> Check:
    stop_ids = list(renderer.stop_ids)
    name = "each completion ends in its one stop token"
    for group in groups:
        for completion in group.completions:
            places = np.flatnonzero(np.isin(completion, stop_ids)).tolist()
            if places != [len(completion) - 1]:
                return Check(
                    name, False, f"{group.row.source} has {len(places)} stop tokens, or one not at its end"
                )
    ends = {int(completion[-1]) for group in groups for completion in group.completions}
    words = " or ".join(renderer.tokenizer.convert_ids_to_tokens(sorted(ends)))
    return Check(name, True, f"{sum(len(group.completions) for group in groups)} completions end in {words}")


def _check_bos(groups: Sequence[TokenGroup], renderer: Renderer) -> Check:
    name = "no prompt begins with two BOS"
    twice = [group for group in groups if begins_with_two_bos(group, renderer)]
    if twice:
        detail = f"{twice[0].row.source} does, and {len(twice) - 1} more; the template and the tokenizer both write one"
        return Check(name, False, detail)
    bos = renderer.tokenizer.bos_token_id
    with_bos = sum(int(group.prompt[0]) == bos for group in groups)
    return Check(
        name, True, f"{with_bos} of {len(groups)} begin with one" if with_bos else "none begins with one"
    )


def _check_prompts(groups: Sequence[TokenGroup], renderer: Renderer) -> Check:
    """Compare with what the tokenizer makes of the conversation by itself, with and without the reply.

    Left out are rows whose text holds control tokens, which the tokenizer would take for such, and prompts that were
    trimmed. A completion that merges with its prompt differs from the whole; its prompt must not.
    """
    name = "each prompt is what production sends, and a prefix of the conversation"
    compared = apart = 0
    for group in groups[:MAX_COMPARED]:
        row = group.row
        told = [str(message.as_dict()) for message in row.prompt]
        if any(renderer.encoder.pattern.search(text) for text in (*told, *row.completions, str(row.tools))):
            continue
        prompt = _by_tokenizer(renderer, row, None)
        if renderer.trim_turns and len(group.prompt) < len(prompt):
            continue
        compared += 1
        if group.prompt.tolist() != prompt:
            return Check(name, False, f"the tokenizer renders the prompt of {row.source} otherwise")
        for text, completion in zip(row.completions, group.completions, strict=True):
            ours = [*group.prompt.tolist(), *completion[:-1].tolist()]
            apart += ours != _by_tokenizer(renderer, row, text)[: len(ours)]
    seen = f"{compared} rows compared with the tokenizer's own rendering"
    return Check(name, True, f"{seen}; {apart} completions were tokenised apart" if apart else seen)


def _by_tokenizer(renderer: Renderer, row: Row, reply: str | None) -> list[int]:
    tokenizer, template = renderer.tokenizer, renderer.template
    if template.plain:
        ids = tokenizer("".join(m.content for m in row.prompt) + (reply or "")).input_ids
    else:
        turns = [message.as_dict() for message in row.prompt]
        ids = tokenizer.apply_chat_template(
            turns if reply is None else [*turns, {"role": "assistant", "content": reply}],
            tools=list(row.tools) or None,
            chat_template=template.source_for(row.tools),
            add_generation_prompt=reply is None,
            tokenize=True,
            return_dict=False,
        )
    return [int(token) for token in ids]


def _check_controls(row: Row, renderer: Renderer) -> Check:
    """Put every control token of the model into the texts of a row and count what comes out as control tokens."""
    name = "control tokens in somebody's text stay text"
    unknown = renderer.tokenizer.unk_token
    controls = [control for control in renderer.encoder.controls if control != unknown]
    if not controls:
        return Check(name, True, "this tokenizer has none")
    hostile, harmless = (_probe(row, renderer, words) for words in (controls, ["word"] * len(controls)))
    tried = f"{len(controls)} tried, {', '.join(controls[:3])}{' ...' if len(controls) > 3 else ''}"
    if isinstance(hostile, Dropped):
        # Such rows are left out and counted; they never steer the model.
        return Check(name, True, f"{tried}; rows that hold them are left out: {hostile.detail}")
    if isinstance(harmless, Dropped):
        return Check(name, False, f"a plain probe cannot be rendered: {harmless.detail}")
    steering = [_count(group, renderer) for group in (hostile, harmless)]
    if steering[0] != steering[1]:
        return Check(
            name, False, f"{tried}: {steering[0]} control tokens came out, {steering[1]} for plain words"
        )
    return Check(name, True, tried)


def _probe(row: Row, renderer: Renderer, words: Sequence[str]) -> TokenGroup | Dropped:
    """The row with these words in its last turn and in its reply."""
    last = row.prompt[-1]
    prompt = (*row.prompt[:-1], replace(last, content=f"What do {' and '.join(words)} mean?"))
    probing = Renderer(
        renderer.tokenizer, stop_ids=renderer.stop_ids, template=renderer.template.name, max_length=2**31
    )
    reply = f"They are {' or '.join(words)}, which is text."
    return probing.render(Example(prompt, reply, row.source, tools=row.tools))


def _count(group: TokenGroup, renderer: Renderer) -> int:
    """Control tokens in the group, those for unknown text left aside."""
    steering: Any = list(renderer.control_ids - {renderer.tokenizer.unk_token_id})
    return int(sum(np.isin(ids, steering).sum() for ids in (group.prompt, *group.completions)))


__all__ = ["Check", "check_rendering"]
