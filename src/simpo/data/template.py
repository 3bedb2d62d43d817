"""Chat templates: conversations to text, and what a template writes around every reply."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.exceptions

from simpo.errors import RecipeError

# Why a row cannot be rendered, in words that are counted.
REASONS = {
    "overlong": "prompt and completion do not fit data.max_length",
    "template_refuses": "the chat template raises an error for this conversation",
    "template_rewrites_prompt": "the template renders the prompt differently once a reply follows",
    "template_drops_text": "the template leaves out a part of the reply",
    "template_drops_tools": "the template leaves out the tools, calls of them, or what they answered",
    "needs_template": "data.template none takes one plain prompt, not a conversation",
    "several_stops": "the reply holds the stop token within, so production would stop before its end",
    "no_stop": "the template does not close this reply as it closes others",
    "empty_prompt": "the rendered prompt has no tokens",
    "empty_completion": "the rendered reply has no token before its stop token",
    "equal_completions": "chosen and rejected are the same tokens once rendered",
    "control_token_in_text": "the text holds a control token that the tokenizer cannot read as plain text",
}

# What an expression in a template can raise beside jinja's own errors.
_TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)

Turn = Mapping[str, Any]
Tool = Mapping[str, Any]
_WORD = re.compile(r"\w+")


class Unrenderable(Exception):
    """One row that cannot be rendered: `reason` is a key of `REASONS`, `detail` a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class ChatTemplate:
    """One chat template in transformers' sandbox, or plain text.

    name: `model` for the tokenizer's own, `none` for plain text (base models), or the path of a Jinja file. Raises
    RecipeError where there is no such template.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer = tokenizer
        self.name = name
        self.source = _source(tokenizer, name)
        named = tokenizer.chat_template if name == "model" else None
        self._source_with_tools = (
            named.get("tool_use", self.source) if isinstance(named, dict) else self.source
        )

    @property
    def plain(self) -> bool:
        """Whether there is no template: the prompt's text, then the reply's."""
        return self.source is None

    def source_for(self, tools: Sequence[Tool]) -> str | None:
        """The template of conversations with these tools: a model may have another one where there are any."""
        return self._source_with_tools if tools else self.source

    @property
    def dated(self) -> bool:
        """Whether the template may write the day's date, so that the same rows are other tokens tomorrow."""
        return self.source is not None and "strftime_now" in self.source

    def texts(
        self, conversations: Sequence[Sequence[Turn]], *, generation_prompt: bool, tools: Sequence[Tool] = ()
    ) -> list[str]:
        """The text of each conversation; `tools` are those that the assistant has in all of them.

        Raises Unrenderable where the template refuses one of them, RecipeError where it is no valid Jinja at all.
        """
        if self.source is None:
            return [_plain_text(turns, tools) for turns in conversations]
        if not conversations:
            return []
        try:
            texts = self._tokenizer.apply_chat_template(
                [list(turns) for turns in conversations],
                tools=list(tools) or None,
                chat_template=self.source_for(tools),
                tokenize=False,
                add_generation_prompt=generation_prompt,
            )
        except jinja2.TemplateSyntaxError as error:
            where = "the model's chat template" if self.name == "model" else self.name
            raise RecipeError(
                f"the chat template is not valid Jinja: {error.message}", where=f"{where}:{error.lineno}"
            ) from None
        except jinja2.exceptions.SecurityError as error:
            where = "the model's chat template" if self.name == "model" else self.name
            raise RecipeError(
                f"the chat template reaches for what the sandbox forbids it: {error}",
                where=where,
                fix="take no file of this model before you know who wrote that template",
            ) from None
        except _TEMPLATE_ERRORS as error:
            detail = f"the chat template refuses this conversation: {error}"
            raise Unrenderable("template_refuses", detail) from None
        return list(texts)


def check_tools_shown(prompt: str, turns: Sequence[Turn], tools: Sequence[Tool]) -> None:
    """Raise Unrenderable where the text of a prompt lacks a tool, a call or an answer that its turns have.

    A template that knows nothing of tools passes over them without a word. Functions are looked for by name, as often
    as they are described and called; an answer by its words, for a template may write it as JSON.
    """
    for turn in turns:
        if turn["role"] == "tool" and not all(word in prompt for word in set(_WORD.findall(turn["content"]))):
            raise Unrenderable("template_drops_tools", "the chat template leaves out what a tool answered")
    calls = [call for turn in turns for call in turn.get("tool_calls", ())]
    names = Counter(str(one["function"]["name"]) for one in (*calls, *tools))
    missing = next((name for name, count in names.items() if prompt.count(name) < count), None)
    if missing is not None:
        called = any(call["function"]["name"] == missing for call in calls)
        raise Unrenderable(
            "template_drops_tools",
            f"the chat template leaves out {'a call of the tool' if called else 'the tool'} {missing!r}; take one that "
            "shows tools (data.template), or rows without them",
        )


@dataclass(frozen=True, slots=True)
class ReplyFrame:
    """What a template writes around a reply, seen on a conversation of one question and one answer.

    question: the question's turn alone. head: between prompt and reply, which the model must produce itself. stop: the
    text of the token that closes the reply, None where the template writes none. tail: what follows the reply or, where
    there is one, the stop.
    """

    question: str
    head: str
    stop: str | None
    tail: str


def reply_frame(template: ChatTemplate, stops: Sequence[str], controls: Sequence[str]) -> ReplyFrame | None:
    """Look at how a template frames a reply; None for plain text and for templates that refuse the probe.

    stops, controls: the texts of the stop tokens and of all control tokens. Raises RecipeError for a template that
    would teach the model what production does not do: one that ends a reply with something at which nothing stops, and
    one that has no generation prompt although it writes a header before the reply.
    """
    if template.plain:
        return None
    question = {"role": "user", "content": "Why?"}
    answers = [[question, {"role": "assistant", "content": content}] for content in ("Because.", "No idea")]
    try:
        asked, prompt = (template.texts([[question]], generation_prompt=ready)[0] for ready in (False, True))
        first, second = template.texts(answers, generation_prompt=False)
    except Unrenderable:
        return None
    if not (first.startswith(prompt) and second.startswith(prompt)):
        return None  # each row will say so
    head, found, rest = first[len(prompt) :].partition("Because.")
    if not found or not second[len(prompt) :].startswith(head):
        return None
    if asked == prompt and head.strip():
        _no_generation_prompt(template, head)
    stop = first_of(stops, rest)
    if stop is not None:
        return ReplyFrame(asked, head, stop, rest.partition(stop)[2])
    if rest.strip():
        _wrong_stop(template, first_of(controls, rest), rest.strip(), stops)
    return ReplyFrame(asked, head, None, rest)


def first_of(words: Sequence[str], text: str) -> str | None:
    """The word that occurs first in the text; of those that begin at one place, the longest."""
    places = [(text.find(word), -len(word), word) for word in words if word in text]
    return min(places)[2] if places else None


def _wrong_stop(template: ChatTemplate, control: str | None, rest: str, stops: Sequence[str]) -> NoReturn:
    stops_at = ", ".join(stops) or "a token that the tokenizer cannot name"
    if control is None:
        raise RecipeError(
            f"the chat template ends a reply with the text {rest!r}, which is no token of this model; it stops only at "
            f"{stops_at}",
            where=_where(template),
            fix="use the chat template that belongs to the model, or one that ends a reply with its stop token",
        )
    raise RecipeError(
        f"the chat template ends a reply with {control}, but the model stops only at {stops_at}: "
        "replies trained like this would never stop in production",
        where=_where(template),
        fix=f"add the id of {control} to eos_token_id in the model's generation_config.json",
    )


def _no_generation_prompt(template: ChatTemplate, head: str) -> NoReturn:
    raise RecipeError(
        f"the chat template has no generation prompt, but writes {head!r} before a reply: the header would be "
        "scored as if the model had written it",
        where=_where(template),
        fix="let the template write it at the end where add_generation_prompt is true",
    )


def _where(template: ChatTemplate) -> str | None:
    return None if template.name == "model" else template.name


def _source(tokenizer: Any, name: str) -> str | None:
    if name == "none":
        return None
    if name == "model":
        try:
            return str(tokenizer.get_chat_template())
        except ValueError as error:
            several = isinstance(tokenizer.chat_template, dict)
            raise RecipeError(
                str(error).splitlines()[0] if several else "the model's tokenizer has no chat template",
                fix="set data.template to a Jinja file, or to none for a base model that reads plain text",
            ) from None
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RecipeError(
            f"cannot read the chat template: {reason}",
            where=name,
            fix="data.template is model, none or a Jinja file",
        ) from error


def _plain_text(turns: Sequence[Turn], tools: Sequence[Tool]) -> str:
    roles = [turn["role"] for turn in turns]
    if tools or roles not in (["user"], ["user", "assistant"]):
        raise Unrenderable("needs_template", REASONS["needs_template"])
    return "".join(turn["content"] for turn in turns)


__all__ = [
    "REASONS",
    "ChatTemplate",
    "ReplyFrame",
    "Unrenderable",
    "check_tools_shown",
    "first_of",
    "reply_frame",
]
