"""From rows to token groups: prompts as production sees them, completions as the model would have to write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np

from simpo.data.template import (
    ChatTemplate,
    ReplyFrame,
    Unrenderable,
    check_tools_shown,
    first_of,
    reply_frame,
)
from simpo.data.tokens import TextEncoder, token_texts
from simpo.errors import DataError, RecipeError
from simpo.records import Dropped, Message, Row, TokenGroup, TokenIds

Tools = tuple[Mapping[str, Any], ...]

_CHUNK = 256  # rows whose texts go to the tokenizer in one call, which spreads them over the cores


@dataclass(frozen=True, slots=True)
class Rendered:
    """The token groups of a data set, what was left out, and how often a boundary had to be cut by hand.

    merged_boundaries counts completions whose first token would have merged with the prompt's last one: their parts
    were tokenised apart, as production does, which sees the prompt alone. trimmed_prompts counts the groups whose
    prompt lost its oldest turns. Both count what is in `groups`.
    """

    groups: tuple[TokenGroup, ...]
    dropped: tuple[Dropped, ...]
    merged_boundaries: int
    trimmed_prompts: int


@dataclass(frozen=True, slots=True)
class _Text:
    """A row as the template writes it: the prompt, each reply up to its stop, and what the marks in them stand for.

    anchor: where in the prompt its last control token begins. Nothing before it can change how a reply is tokenised.
    """

    prompt: str
    replies: tuple[str, ...]
    literals: tuple[str, ...]
    anchor: int

    def to_encode(self) -> list[str]:
        """The prompt, and each reply behind the prompt's last control token."""
        return [self.prompt, *(self.prompt[self.anchor :] + reply for reply in self.replies)]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a row; of its completions, `merged` had to be tokenised apart from the prompt."""

    result: TokenGroup | Dropped
    merged: int = 0
    trimmed: bool = False


class Renderer:
    """Turns rows into token groups as one model's chat template and stop tokens demand.

    The prompt is the conversation with the generation prompt; a completion is what the template writes after it, up to
    and including the one stop token. Control tokens in somebody's text are text. template: `model`, `none` (plain
    text, for base models) or the path of a Jinja file. stop_ids: the token ids at which production stops (the model's
    generation config and the tokenizer's eos). max_length: longest prompt + completion in tokens; overlong: `drop` or
    `error`; a completion is never cut. trim_turns: whether a prompt may lose whole oldest turns to fit.

    Raises RecipeError for a template that would teach the model what production does not do (`reply_frame`).
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        stop_ids: Iterable[int],
        template: str = "model",
        max_length: int = 2048,
        overlong: Literal["drop", "error"] = "drop",
        trim_turns: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)
        if not self.stop_ids:
            _no_stop_token()
        self.max_length, self.overlong, self.trim_turns = max_length, overlong, trim_turns
        self.template = ChatTemplate(tokenizer, template)
        added = {token_id: token.content for token_id, token in tokenizer.added_tokens_decoder.items()}
        self._stop_texts = [added[token] for token in sorted(self.stop_ids) if token in added]
        self.frame: ReplyFrame | None = reply_frame(self.template, self._stop_texts, list(added.values()))
        self.encoder = TextEncoder(tokenizer, also=self._written_controls(added.values()))
        self._control_array = np.fromiter(self.control_ids, np.int32)
        bos = [tokenizer.bos_token_id] if self.template.plain and _adds_bos(tokenizer) else []
        self._prefix: TokenIds = np.array(bos, np.int32)
        eos = tokenizer.eos_token_id
        self._default_stop = eos if eos in self.stop_ids else min(self.stop_ids)

    @property
    def control_ids(self) -> frozenset[int]:
        """The ids of the tokens that steer the model, which no text of a user can bring about."""
        return self.encoder.control_ids

    def render(self, row: Row) -> TokenGroup | Dropped:
        """One row as token ids, or the reason why it was left out.

        Raises DataError for a row that does not fit when `overlong` is `error`.
        """
        return self._outcome(row, self._try_text(row), {}).result

    def prompt_ids(self, prompt: tuple[Message, ...], tools: Tools = ()) -> TokenIds:
        """A prompt with its generation prompt, as the model sees it before it writes a reply.

        Raises DataError where the template refuses the prompt.
        """
        try:
            text = self._text(prompt, (), tools)
            return self._with_prefix(self._encode(text.prompt, text.literals, {}))
        except Unrenderable as problem:
            raise DataError(problem.detail) from None

    def render_rows(self, rows: Sequence[Row], progress: Callable[[int], None] | None = None) -> Rendered:
        """See the function `render_rows`."""
        outcomes: list[_Outcome] = []
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            texts = [self._try_text(row) for row in chunk]
            parts = [part for text in texts if isinstance(text, _Text) for part in text.to_encode()]
            wanted = dict.fromkeys(
                part for part in parts if self.encoder.is_simple(part, self.template.plain)
            )
            ready = dict(zip(wanted, self.encoder.encode_many(list(wanted)), strict=True))
            for row, text in zip(chunk, texts, strict=True):
                outcomes.append(self._outcome(row, text, ready))
            if progress is not None:
                progress(len(outcomes))
        kept = [outcome for outcome in outcomes if isinstance(outcome.result, TokenGroup)]
        return Rendered(
            tuple(outcome.result for outcome in outcomes if isinstance(outcome.result, TokenGroup)),
            tuple(outcome.result for outcome in outcomes if isinstance(outcome.result, Dropped)),
            sum(outcome.merged for outcome in kept),
            sum(outcome.trimmed for outcome in kept),
        )

    def _try_text(self, row: Row) -> _Text | Unrenderable:
        try:
            return self._text(row.prompt, row.completions, row.tools)
        except Unrenderable as problem:
            return problem

    def _outcome(self, row: Row, text: _Text | Unrenderable, ready: Mapping[str, TokenIds]) -> _Outcome:
        prompt = row.prompt
        try:
            if isinstance(text, Unrenderable):
                raise text
            group, merged = self._group(row, text, ready)
            while group.longest > self.max_length and self.trim_turns:
                shorter = _without_oldest_turn(prompt)
                if shorter is None:
                    break
                prompt = shorter
                group, merged = self._group(row, self._text(prompt, row.completions, row.tools), {})
        except Unrenderable as problem:
            return _Outcome(Dropped(row.source, problem.reason, problem.detail))
        if group.longest <= self.max_length:
            return _Outcome(group, merged, trimmed=prompt is not row.prompt)
        detail = f"{group.longest} tokens (row {row.id}) do not fit data.max_length {self.max_length}"
        if self.overlong == "error":
            fix = "raise data.max_length, set data.trim_turns: true, or set data.overlong: drop"
            raise DataError(detail, where=str(row.source), fix=fix)
        return _Outcome(Dropped(row.source, "overlong", detail))

    def _text(self, prompt: tuple[Message, ...], completions: Sequence[str], tools: Tools) -> _Text:
        literals: list[str] = []

        def marked(value: Any) -> Any:
            # Plain text is marked nowhere: all of it is text.
            if isinstance(value, str):
                return value if self.template.plain else self.encoder.mark(value, literals)
            if isinstance(value, Mapping):
                return {marked(key): marked(item) for key, item in value.items()}
            return [marked(item) for item in value] if isinstance(value, (list, tuple)) else value

        turns = [
            {**message.as_dict(), **marked(message.extra), "content": marked(message.content)}
            for message in prompt
        ]
        shown = marked(tools)
        (asked,) = self.template.texts([turns], generation_prompt=True, tools=shown)
        check_tools_shown(asked, turns, shown)
        replies = [{"role": "assistant", "content": marked(completion)} for completion in completions]
        conversations = [[*turns, reply] for reply in replies]
        answered = self.template.texts(conversations, generation_prompt=False, tools=shown)
        texts = [
            self._reply_text(asked, whole, reply["content"])
            for whole, reply in zip(answered, replies, strict=True)
        ]
        anchor = 0 if self.template.plain else self.encoder.last_control(asked)
        return _Text(asked, tuple(texts), tuple(literals), anchor)

    def _reply_text(self, asked: str, whole: str, content: str) -> str:
        """What the model must produce after the prompt: up to the first stop, or to the reply's end without one."""
        if not whole.startswith(asked):
            raise Unrenderable(
                "template_rewrites_prompt",
                "the chat template renders the prompt differently once a reply follows, so the reply cannot be "
                "scored as the model would write it",
            )
        reply = whole[len(asked) :]
        if self.template.plain:
            return reply
        stop = first_of(self._stop_texts, reply)
        if stop is not None:
            before, _, tail = reply.partition(stop)
            reply = before + stop
            if tail.strip() and self.frame is not None and tail != self.frame.tail:
                raise Unrenderable(
                    "several_stops", f"the chat template goes on with a reply after its stop {stop}"
                )
        elif self.frame is not None and self.frame.stop is None:
            reply = reply.removesuffix(self.frame.tail)
        elif self.frame is not None or self.encoder.pattern.search(reply):
            raise Unrenderable(
                "no_stop", "the chat template closes this reply with nothing at which the model stops"
            )
        if "".join(content.split()) not in "".join(reply.split()):
            raise Unrenderable("template_drops_text", "the chat template leaves out a part of the reply")
        return reply

    def _group(self, row: Row, text: _Text, ready: Mapping[str, TokenIds]) -> tuple[TokenGroup, int]:
        """The token group of a rendered row, and how many of its completions merged with the prompt."""
        prompt = self._encode(text.prompt, text.literals, ready)
        whole_prompt = self._with_prefix(prompt)
        if len(whole_prompt) == 0:
            raise Unrenderable("empty_prompt", "the rendered prompt has no tokens")
        controls = np.flatnonzero(np.isin(prompt, self._control_array))
        known = prompt[controls[-1] :] if len(controls) else prompt
        completions, merged = [], 0
        for reply, behind_anchor in zip(text.replies, text.to_encode()[1:], strict=True):
            ids = self._encode(behind_anchor, text.literals, ready)
            if _starts_with(ids, known):
                ids = ids[len(known) :]
            else:
                merged += 1
                ids = self._apart(prompt, text.prompt, reply, text.literals)
            completions.append(self._end_at_stop(ids))
        if len({completion.tobytes() for completion in completions}) < len(completions):
            raise Unrenderable("equal_completions", "the completions are the same tokens once rendered")
        return TokenGroup(whole_prompt, tuple(completions), row), merged

    def _apart(self, prompt: TokenIds, asked: str, reply: str, literals: tuple[str, ...]) -> TokenIds:
        """Tokens of a reply that would merge with its prompt, as a model that has seen the prompt would write them.

        A tokenizer may treat the start of a text in its own way (a blank put before it), so the reply is read behind
        something that does not merge with it; taken is what, decoded behind the prompt, gives the text of both.
        """
        wanted = self._decode(self._encode(asked + reply, literals, {}))
        for before in ("a", "\n", ".", ""):
            head = self._encode(before, (), {}) if before else prompt[:0]
            ids = self._encode(before + reply, literals, {})
            if _starts_with(ids, head) and self._decode([*prompt, *ids[len(head) :]]) == wanted:
                return ids[len(head) :]
        return self._encode(reply, literals, {})

    def _end_at_stop(self, completion: TokenIds) -> TokenIds:
        """The completion with its one stop token at the end, which is added where the template writes none."""
        stops = np.flatnonzero(np.isin(completion, list(self.stop_ids)))
        if len(stops) == 0:
            completion = np.append(completion, np.int32(self._default_stop))
        elif len(stops) > 1 or stops[0] != len(completion) - 1:
            raise Unrenderable(
                "several_stops", "the rendered reply holds a stop token within: production would stop there"
            )
        if len(completion) == 1:
            raise Unrenderable("empty_completion", "the completion has no token before its stop token")
        return completion

    def _encode(self, text: str, literals: tuple[str, ...], ready: Mapping[str, TokenIds]) -> TokenIds:
        if text in ready:
            return ready[text]
        return (
            self.encoder.encode_as_text(text) if self.template.plain else self.encoder.encode(text, literals)
        )

    def _decode(self, ids: Sequence[int] | TokenIds) -> str:
        listed = [int(token) for token in ids]
        return str(
            self.tokenizer.decode(listed, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )

    def _with_prefix(self, prompt: TokenIds) -> TokenIds:
        return np.concatenate([self._prefix, prompt]) if len(self._prefix) else prompt

    def _written_controls(self, added: Iterable[str]) -> list[str]:
        """Added tokens that steer this model although they are not declared special: its stops, and its turn marks.

        Not those that stand for text the model reads and writes, like `<think>` or a run of blanks.
        """
        question = self.frame.question if self.frame else ""
        marks = (token for token in added if token.strip() and not token.isalnum() and token in question)
        return [*self._stop_texts, *marks]


def render_rows(
    rows: Sequence[Row], renderer: Renderer, progress: Callable[[int], None] | None = None
) -> Rendered:
    """Render every row; rows that do not fit or cannot be rendered are listed, never silently lost.

    progress: called with the number of rows done. Raises DataError for a row that does not fit where the renderer's
    `overlong` is `error`.
    """
    return renderer.render_rows(rows, progress)


def check_groups(groups: Sequence[TokenGroup], renderer: Renderer) -> None:
    """Assert what every scored pair must satisfy: one stop token, at the end; at most one BOS; nothing empty.

    Raises DataError naming the file and line of the first that does not. The prefix property holds by construction.
    """
    stop_ids = list(renderer.stop_ids)
    for group in groups:
        if begins_with_two_bos(group, renderer):
            raise DataError("the rendered prompt begins with two BOS tokens", where=str(group.row.source))
        for completion in group.completions:
            stops = int(np.isin(completion, stop_ids).sum())
            if stops != 1 or int(completion[-1]) not in renderer.stop_ids:
                raise DataError(
                    f"a completion scores {stops} stop tokens, not one", where=str(group.row.source)
                )


def begins_with_two_bos(group: TokenGroup, renderer: Renderer) -> bool:
    """Whether template and tokenizer both wrote a BOS (a model whose BOS is also its stop may open a turn with it)."""
    bos = renderer.tokenizer.bos_token_id
    return bos is not None and bos not in renderer.stop_ids and group.prompt[:2].tolist() == [bos, bos]


def rendering_json(groups: Sequence[TokenGroup], renderer: Renderer) -> dict[str, Any]:
    """The groups token by token, for people: text, whether it is a control token, whether it is the stop token.

    An example's completion stands under `chosen`, and there is no `rejected`.
    """

    def tokens(ids: TokenIds) -> list[dict[str, Any]]:
        return [
            {
                "text": text,
                "special": int(token) in renderer.control_ids,
                "stop": int(token) in renderer.stop_ids,
            }
            for token, text in zip(ids, token_texts(renderer.tokenizer, ids), strict=True)
        ]

    pairs = []
    for group in groups:
        entry: dict[str, Any] = {"source": str(group.row.source), "prompt": tokens(group.prompt)}
        for name, completion in zip(("chosen", "rejected"), group.completions, strict=False):
            entry[name] = tokens(completion)
        pairs.append(entry)
    return {"pairs": pairs}


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("x").input_ids
    return tokenizer.bos_token_id is not None and len(ids) > 0 and ids[0] == tokenizer.bos_token_id


def _starts_with(ids: TokenIds, head: TokenIds) -> bool:
    return np.array_equal(ids[: len(head)], head)


def _without_oldest_turn(prompt: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The prompt less its oldest exchange (up to the second user turn), or None when only the last one is left.

    What the system says stays, wherever it stands.
    """
    users = [index for index, message in enumerate(prompt) if message.role == "user"]
    if len(users) < 2:
        return None
    system = tuple(message for message in prompt[: users[1]] if message.role == "system")
    return system + prompt[users[1] :]


def _no_stop_token() -> NoReturn:
    raise RecipeError(
        "the model names no stop token, neither in its generation config nor as the tokenizer's eos",
        fix="set eos_token_id in the model's generation_config.json",
    )


__all__ = ["Rendered", "Renderer", "check_groups", "render_rows", "rendering_json"]
