"""From text to tokens: the chat template, the boundary between prompt and completion, and the one stop token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import jinja2
import numpy as np

from simpo.errors import DataError, RecipeError
from simpo.records import Dropped, Message, Row, TokenGroup, TokenIds

# Private-use characters that bracket the number of a literal control token while the template runs.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"


class Unrenderable(Exception):
    """One row that cannot be rendered, with a reason word and a sentence; never leaves this module."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Rendered:
    """The token groups of a data set, what was left out, and how often a boundary had to be cut by hand.

    merged_boundaries counts completions whose first token would have merged with the prompt's last one: their parts
    were tokenised apart, as production does, which sees the prompt alone.
    """

    groups: tuple[TokenGroup, ...]
    dropped: tuple[Dropped, ...]
    merged_boundaries: int
    trimmed_prompts: int


class Renderer:
    """Turns rows into token groups as one model's chat template and stop tokens demand.

    template: `model`, `none` (plain text, for base models) or the path of a Jinja file. stop_ids: the token ids at
    which production stops (the model's generation config and the tokenizer's eos). max_length: longest prompt +
    completion in tokens; overlong: `drop` or `error`; a completion is never cut. trim_turns: whether a prompt may
    lose whole oldest turns to fit.
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
        self.max_length, self.overlong, self.trim_turns = max_length, overlong, trim_turns
        self.merged_boundaries = 0
        self.trimmed_prompts = 0
        self.template = _template_text(tokenizer, template)
        self._add_bos = self.template is None and _adds_bos(tokenizer)
        self._controls = {
            token.content: token_id
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special
        }
        longest_first = sorted(self._controls, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        if not self.stop_ids:
            _no_stop_token()
        self._parts_match = self._parts_equal_whole()
        eos = tokenizer.eos_token_id
        self._default_stop = eos if eos in self.stop_ids else min(self.stop_ids)

    def render(self, row: Row) -> TokenGroup | Dropped:
        """One row as token ids, or the reason why it was left out.

        Raises DataError for a row that does not fit when `overlong` is `error`.
        """
        prompt = row.prompt
        try:
            group = self._render(row, prompt)
            while group.longest > self.max_length and self.trim_turns:
                shorter = _without_oldest_turn(prompt)
                if shorter is None:
                    break
                self.trimmed_prompts += prompt is row.prompt
                prompt = shorter
                group = self._render(row, prompt)
        except Unrenderable as problem:
            return Dropped(row.source, problem.reason, problem.detail)
        if group.longest <= self.max_length:
            return group
        detail = f"{group.longest} tokens (pair {row.id}) do not fit data.max_length {self.max_length}"
        if self.overlong == "error":
            fix = "raise data.max_length, set data.trim_turns: true, or set data.overlong: drop"
            raise DataError(detail, where=str(row.source), fix=fix)
        return Dropped(row.source, "overlong", detail)

    def prompt_ids(self, prompt: tuple[Message, ...]) -> TokenIds:
        """A prompt with its generation prompt, as the model sees it before it writes a reply.

        Raises DataError where the template refuses the prompt.
        """
        try:
            text, literals = self._apply(prompt, None)
            return self._finish_prompt(text, literals)
        except Unrenderable as problem:
            raise DataError(problem.detail) from None

    def _render(self, row: Row, prompt: tuple[Message, ...]) -> TokenGroup:
        prompt_text, literals = self._apply(prompt, None)
        prompt_ids = self._finish_prompt(prompt_text, literals)
        completions = tuple(
            self._completion(prompt, prompt_text, prompt_ids, text) for text in row.completions
        )
        return TokenGroup(prompt_ids, completions, row)

    def _completion(
        self, prompt: tuple[Message, ...], prompt_text: str, prompt_ids: TokenIds, reply: str
    ) -> TokenIds:
        full_text, literals = self._apply(prompt, reply)
        if not full_text.startswith(prompt_text):
            raise Unrenderable(
                "template_rewrites_prompt",
                "the chat template renders the prompt differently once a reply follows, so the reply cannot be "
                "scored as the model would write it",
            )
        full = self._finish_prompt(full_text, literals)
        if np.array_equal(full[: len(prompt_ids)], prompt_ids):
            completion = full[len(prompt_ids) :]
        else:
            self.merged_boundaries += 1
            completion = self._encode(full_text[len(prompt_text) :], literals)
        return self._end_at_stop(completion)

    def _end_at_stop(self, completion: TokenIds) -> TokenIds:
        """Cut what the template writes after the stop token, or add the stop token where it writes none."""
        stops = [index for index, token in enumerate(completion) if int(token) in self.stop_ids]
        if len(stops) > 1:
            raise Unrenderable(
                "several_stops", f"the rendered completion holds {len(stops)} stop tokens, not one"
            )
        if stops:
            completion = completion[: stops[0] + 1]
        else:
            special = next(
                (int(token) for token in completion[::-1] if int(token) in self._controls.values()), None
            )
            if special is not None and self.template is not None:
                self._wrong_stop(special)
            completion = np.append(completion, np.int32(self._default_stop))
        if len(completion) == 1:
            raise Unrenderable("empty_completion", "the completion has no token before its stop token")
        return completion

    def _wrong_stop(self, special: int) -> NoReturn:
        tokens = self.tokenizer.convert_ids_to_tokens([special, *sorted(self.stop_ids)])
        raise RecipeError(
            f"the chat template ends a reply with {tokens[0]}, but the model stops only at {', '.join(tokens[1:])}: "
            "replies trained like this would never stop in production",
            fix=f"add token id {special} to eos_token_id in the model's generation_config.json",
        )

    def _apply(self, prompt: tuple[Message, ...], reply: str | None) -> tuple[str, tuple[str, ...]]:
        """The rendered text, with each control token that stood in somebody's text replaced by a numbered mark."""
        literals: list[str] = []

        def mark(text: str) -> str:
            def number(match: re.Match[str]) -> str:
                literals.append(match.group())
                return f"{_OPEN}{len(literals) - 1}{_CLOSE}"

            if _OPEN in text and self._control_pattern.search(text):
                raise Unrenderable(
                    "private_use", "the text holds both control tokens and the character U+E0F0"
                )
            return self._control_pattern.sub(number, text)

        messages = [{"role": message.role, "content": mark(message.content)} for message in prompt]
        if reply is not None:
            messages.append({"role": "assistant", "content": mark(reply)})
        if self.template is None:
            return _plain_text(messages), tuple(literals)
        try:
            text = self.tokenizer.apply_chat_template(
                messages, chat_template=self.template, tokenize=False, add_generation_prompt=reply is None
            )
        except jinja2.TemplateError as error:
            raise Unrenderable(
                "template_refuses", f"the chat template refuses this conversation: {error}"
            ) from None
        return text, tuple(literals)

    def _finish_prompt(self, text: str, literals: tuple[str, ...]) -> TokenIds:
        ids = self._encode(text, literals)
        return (
            np.concatenate([np.array([self.tokenizer.bos_token_id], np.int32), ids]) if self._add_bos else ids
        )

    def _encode(self, text: str, literals: tuple[str, ...]) -> TokenIds:
        """Token ids of rendered text; a control token is one id where the template wrote it and text elsewhere."""
        if not literals and (self.template is not None or not self._control_pattern.search(text)):
            return np.asarray(self.tokenizer(text, add_special_tokens=False).input_ids, np.int32)
        if not self._parts_match:
            raise Unrenderable(
                "control_token_in_text",
                "the text holds one of the model's control tokens, and its tokenizer cannot read it as plain text",
            )
        return np.asarray(self._encode_parts(text, literals), np.int32)

    def _encode_parts(self, text: str, literals: tuple[str, ...]) -> list[int]:
        ids: list[int] = []
        place = 0
        for match in [*self._control_pattern.finditer(text), None]:
            segment = text[place : match.start() if match else len(text)]
            if segment:
                ids += self._encode_as_text(_restore(segment, literals))
            if match:
                ids.append(self._controls[match.group()])
                place = match.end()
        return ids

    def _parts_equal_whole(self) -> bool:
        """Whether tokenising between control tokens gives what tokenising the whole gives, for this tokenizer.

        False where a control token swallows neighbouring blanks or a piece at the start gains a prefix space: there,
        rows with control tokens in somebody's text are left out rather than rendered a little wrong.
        """
        if not self._controls:
            return True
        control = next(iter(self._controls))
        probe = f"{control}user\n Hello there,  you\n{control} x{control}"
        whole = self.tokenizer(probe, add_special_tokens=False).input_ids
        return list(self._encode_parts(probe, ())) == list(whole)

    def _encode_as_text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return ids


def render_rows(
    rows: Sequence[Row], renderer: Renderer, progress: Callable[[int], None] | None = None
) -> Rendered:
    """Render every row; rows that do not fit or cannot be rendered are listed, never silently lost."""
    groups: list[TokenGroup] = []
    dropped: list[Dropped] = []
    merged, trimmed = renderer.merged_boundaries, renderer.trimmed_prompts
    for index, row in enumerate(rows):
        result = renderer.render(row)
        if isinstance(result, Dropped):
            dropped.append(result)
        else:
            groups.append(result)
        if progress is not None:
            progress(index + 1)
    return Rendered(
        tuple(groups), tuple(dropped), renderer.merged_boundaries - merged, renderer.trimmed_prompts - trimmed
    )


def check_groups(groups: Sequence[TokenGroup], renderer: Renderer) -> None:
    """Assert what every scored pair must satisfy: one stop token, at the end; at most one BOS; nothing empty.

    Raises DataError naming the file and line of the first that does not. The prefix property holds by construction.
    """
    bos = renderer.tokenizer.bos_token_id
    for group in groups:
        if (
            bos is not None
            and bos not in renderer.stop_ids
            and len(group.prompt) > 1
            and list(group.prompt[:2]) == [bos, bos]
        ):
            raise DataError("the rendered prompt begins with two BOS tokens", where=str(group.row.source))
        for completion in group.completions:
            stops = sum(int(token) in renderer.stop_ids for token in completion)
            if stops != 1 or int(completion[-1]) not in renderer.stop_ids:
                raise DataError(
                    f"a completion scores {stops} stop tokens, not one", where=str(group.row.source)
                )


def rendering_json(groups: Sequence[TokenGroup], renderer: Renderer) -> dict[str, Any]:
    """The groups token by token, for people: text, whether it is a control token, whether it is the stop token."""
    specials = set(renderer._controls.values())

    def tokens(ids: TokenIds) -> list[dict[str, Any]]:
        return [
            {"text": text, "special": int(token) in specials, "stop": int(token) in renderer.stop_ids}
            for token, text in zip(ids, _token_texts(renderer.tokenizer, ids), strict=True)
        ]

    names = ("chosen", "rejected")
    pairs = []
    for group in groups:
        entry: dict[str, Any] = {"source": str(group.row.source), "prompt": tokens(group.prompt)}
        if len(group.completions) == 1:
            entry["chosen"] = tokens(group.completions[0])
        else:
            entry.update({name: tokens(ids) for name, ids in zip(names, group.completions, strict=True)})
        pairs.append(entry)
    return {"pairs": pairs}


def _token_texts(tokenizer: Any, ids: TokenIds) -> list[str]:
    """The text each token adds: bytes of one character spread over tokens appear at the last of them."""
    texts, shown = [], ""
    listed = [int(token) for token in ids]
    for end in range(1, len(listed) + 1):
        text = tokenizer.decode(listed[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        stable = text[:-1] if text.endswith("\ufffd") else text
        texts.append(stable[len(shown) :])
        shown = stable if len(stable) > len(shown) else shown
    return texts


def _template_text(tokenizer: Any, template: str) -> str | None:
    if template == "none":
        return None
    if template == "model":
        try:
            text = tokenizer.get_chat_template()
        except ValueError:
            raise RecipeError(
                "the model's tokenizer has no chat template",
                fix="set data.template to a Jinja file, or to none for a base model that reads plain text",
            ) from None
        return str(text)
    try:
        return Path(template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the chat template: {error}",
            where=template,
            fix="data.template is model, none or a Jinja file",
        ) from error


def _adds_bos(tokenizer: Any) -> bool:
    ids = tokenizer("x").input_ids
    return tokenizer.bos_token_id is not None and len(ids) > 0 and ids[0] == tokenizer.bos_token_id


def _plain_text(messages: Sequence[dict[str, str]]) -> str:
    users = [message for message in messages if message["role"] == "user"]
    replies = [message for message in messages if message["role"] == "assistant"]
    if len(users) != 1 or len(users) + len(replies) != len(messages):
        raise Unrenderable("needs_template", "data.template none takes one plain prompt, not a conversation")
    return "".join(message["content"] for message in messages)


def _without_oldest_turn(prompt: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The prompt less its oldest exchange (from one user turn to the next), or None when only the last is left."""
    users = [index for index, message in enumerate(prompt) if message.role == "user"]
    if len(users) < 2:
        return None
    system = tuple(message for message in prompt[: users[0]] if message.role == "system")
    return system + prompt[users[1] :]


def _restore(text: str, literals: tuple[str, ...]) -> str:
    return (
        re.sub(f"{_OPEN}(\\d+){_CLOSE}", lambda match: literals[int(match.group(1))], text)
        if literals
        else text
    )


def _no_stop_token() -> NoReturn:
    raise RecipeError(
        "the model names no stop token, neither in its generation config nor as the tokenizer's eos",
        fix="set eos_token_id in the model's generation_config.json",
    )


__all__ = ["Rendered", "Renderer", "check_groups", "render_rows", "rendering_json"]
