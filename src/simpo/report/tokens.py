"""The first pairs as the model reads them, token by token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simpo.report.source import RenderedPair, RunSource, Token
from simpo.report.words import number, whole

MAX_RENDERED = 6
MAX_TOKENS = 700
MAX_TOKEN_CHARS = 200


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token: its text with line ends made visible, the classes it is drawn with, what a pointer shows."""

    text: str
    classes: str
    title: str


@dataclass(frozen=True, slots=True)
class CompletionView:
    """One completion as tokens, with its mean log-probability in words."""

    name: str
    tokens: tuple[TokenView, ...]
    note: str


@dataclass(frozen=True, slots=True)
class RenderedView:
    """One pair as the model reads it."""

    source: str
    prompt: tuple[TokenView, ...]
    completions: tuple[CompletionView, ...]


def knows_logps(source: RunSource) -> bool:
    """Whether the rendering says how likely its tokens were, or only which of them are scored."""
    pairs = source.rendering.pairs if source.rendering else ()
    return any(token.logp is not None for pair in pairs for token in (*pair.chosen, *pair.rejected))


def renderings(source: RunSource) -> list[RenderedView]:
    """The first pairs, token by token."""
    pairs = source.rendering.pairs[:MAX_RENDERED] if source.rendering else ()
    return [_rendered(pair) for pair in pairs]


def _rendered(pair: RenderedPair) -> RenderedView:
    completions = [("chosen" if pair.rejected else "completion", pair.chosen), ("rejected", pair.rejected)]
    return RenderedView(
        pair.source,
        tuple(_tokens(pair.prompt, scored=False)),
        tuple(
            CompletionView(name, tuple(_tokens(tokens, scored=True)), _mean_note(tokens))
            for name, tokens in completions
            if tokens
        ),
    )


def _mean_note(tokens: Sequence[Token]) -> str:
    known = [token.logp for token in tokens if token.logp is not None and math.isfinite(token.logp)]
    text = f"{whole(len(tokens))} scored tokens"
    if known and len(known) == len(tokens):
        text += f", mean {number(sum(known) / len(known))} nats per token"
    return text


def _tokens(tokens: Sequence[Token], *, scored: bool) -> Iterator[TokenView]:
    # A prompt matters most where it meets the completion: a long one loses its beginning, a completion its end.
    shown = tokens[-MAX_TOKENS:] if not scored else tokens[:MAX_TOKENS]
    left_out = TokenView(f"[{whole(len(tokens) - len(shown))} tokens left out]", "cut", "")
    if len(shown) < len(tokens) and not scored:
        yield left_out
    for token in shown:
        text = token.text[:MAX_TOKEN_CHARS].replace("\n", "↵\n")
        classes = ["special"] if token.special else []
        if scored:
            classes.append("stop" if token.stop else f"heat{_heat(token.logp)}")
        title = f"{number(token.logp)} nats" if token.logp is not None else ""
        yield TokenView(text, " ".join(classes), title)
    if len(shown) < len(tokens) and scored:
        yield left_out


def _heat(logp: float | None) -> int:
    """0 for a token that the model expected (probability over a half) to 4 for one it found most unlikely."""
    if logp is None or not math.isfinite(logp):
        return 1
    return sum(logp < limit for limit in (-0.7, -2, -4, -7))
