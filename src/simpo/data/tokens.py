"""Text to token ids, with control tokens only where the template wrote them; and back to text, token by token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simpo.data.template import Unrenderable
from simpo.records import TokenIds

# Private-use characters: a mark is OPEN, the number of a literal, CLOSE. OPEN itself is marked where it stands in
# somebody's text, so no text can forge a mark.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
# Where the alias of a control token is taken from: planes of private use, of which no text holds every character.
_ALIAS_MARKS = (*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))


class TextEncoder:
    """One tokenizer, its control tokens, and text in which some control tokens are literally meant.

    controls: text -> id of the tokens that steer the model: the special ones and those named by `also`. In text that
    went through `mark`, a control token is a token where it stands plainly and ordinary text where it is marked.
    """

    def __init__(self, tokenizer: Any, also: Iterable[str] = ()) -> None:
        self.tokenizer = tokenizer
        named = set(also)
        self.controls: dict[str, int] = {
            token.content: token_id
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.special or token.content in named
        }
        self.control_ids = frozenset(self.controls.values())
        longest_first = sorted(self.controls, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._literal = re.compile("|".join([*map(re.escape, longest_first), _OPEN]))
        self._aliased: _AliasedTokenizer | None = None

    def mark(self, text: str, literals: list[str]) -> str:
        """Replace each control token of somebody's text by a mark that templates pass on; `literals` grows."""

        def number(match: re.Match[str]) -> str:
            literals.append(match.group())
            return f"{_OPEN}{len(literals) - 1}{_CLOSE}"

        return self._literal.sub(number, text)

    def unmark(self, text: str, literals: Sequence[str]) -> str:
        """The text with its marks put back to what they stand for."""
        return _MARK.sub(lambda match: literals[int(match.group(1))], text) if literals else text

    def encode_many(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token ids of texts without marks; every control token in them is meant as one."""
        if not texts:
            return []
        rows = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
        ).input_ids
        return [np.asarray(ids, np.int32) for ids in rows]

    def is_simple(self, text: str, plain: bool = False) -> bool:
        """Whether `encode_many` may take the text: it holds no mark, or, all of it being text, no control token."""
        return self.pattern.search(text) is None if plain else _OPEN not in text

    def encode(self, text: str, literals: Sequence[str] = ()) -> TokenIds:
        """Token ids of marked text. Raises Unrenderable where the tokenizer makes control tokens even of plain text."""
        if self.is_simple(text):
            return self.encode_many([text])[0]
        return self._with_literals(self.pattern.split(text), self.pattern.findall(text), literals)

    def encode_as_text(self, text: str) -> TokenIds:
        """Token ids of text in which nothing is a control token. Raises as `encode` does."""
        return (
            self.encode_many([text])[0]
            if self.is_simple(text, plain=True)
            else self._with_literals([text], [], ())
        )

    def last_control(self, text: str) -> int:
        """Where the last control token of marked text begins, 0 without one."""
        return max((match.start() for match in self.pattern.finditer(text)), default=0)

    def _with_literals(self, pieces: list[str], controls: list[str], literals: Sequence[str]) -> TokenIds:
        """Ids of the pieces, as text, with the control tokens between them."""
        pieces = [self.unmark(piece, literals) for piece in pieces]
        if self._aliased is None or self._aliased.mark in "".join(pieces):
            self._aliased = _AliasedTokenizer(self.tokenizer, self.controls, avoid="".join(pieces))
        return self._aliased.encode(pieces, controls)


class _AliasedTokenizer:
    """A copy of a tokenizer in which every control token goes by another name, so that its own name is just text.

    The whole text goes through the whole tokenizer at once: what it does at the start of a text or around a control
    token stays as it is. The alias of token 7 is `<mark>7<mark>`; `mark` is a character that no text in hand holds.
    """

    def __init__(self, tokenizer: Any, controls: Mapping[str, int], avoid: str) -> None:
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise Unrenderable(
                "control_token_in_text",
                "the text holds a control token of the model, and its tokenizer cannot read it as plain text",
            )
        self.mark = next(chr(code) for code in _ALIAS_MARKS if chr(code) not in avoid)
        self.controls = controls
        state = json.loads(backend.to_str())
        state.update(truncation=None, padding=None, post_processor=None)
        added = state["added_tokens"]
        for token in added:
            if token["content"] in controls:
                token["content"] = self._alias(token["content"])
        if isinstance(
            state["model"]["vocab"], list
        ):  # Unigram, which finds whole pieces in text, control tokens too
            for piece in state["model"]["vocab"]:
                piece[0] = self._alias(piece[0]) if piece[0] in controls else piece[0]
        self._copy = Tokenizer.from_str(json.dumps(state))
        # The copy numbers its added tokens anew.
        self._real = {self._copy.token_to_id(token["content"]): int(token["id"]) for token in added}
        self._forbidden = frozenset(controls.values()) - {tokenizer.unk_token_id} - self._real.keys()

    def encode(self, pieces: Sequence[str], controls: Sequence[str]) -> TokenIds:
        """Ids of pieces[0], controls[0], pieces[1] ...; the pieces are text, whatever they hold."""
        text = pieces[0]
        for control, piece in zip(controls, pieces[1:], strict=True):
            text += self._alias(control) + piece
        ids = self._copy.encode(text, add_special_tokens=False).ids
        if not self._forbidden.isdisjoint(ids):
            raise Unrenderable(
                "control_token_in_text",
                "the text holds a control token of the model, and its tokenizer makes that token even of plain text",
            )
        return np.asarray([self._real.get(token, token) for token in ids], np.int32)

    def _alias(self, control: str) -> str:
        return f"{self.mark}{self.controls[control]}{self.mark}"


def token_texts(tokenizer: Any, ids: Sequence[int] | TokenIds) -> list[str]:
    """The text that each token adds; the bytes of one character spread over tokens appear at the last of them."""
    listed = [int(token) for token in ids]

    def decode(start: int, end: int) -> str:
        window = listed[start:end]
        return str(tokenizer.decode(window, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    texts = []
    shown = read = (
        0  # tokens before `shown` are out of sight, those before `read` are context already written
    )
    for end in range(1, len(listed) + 1):
        before, now = decode(shown, read), decode(shown, end)
        if now.endswith("\ufffd") and end < len(listed):
            texts.append("")
            continue
        texts.append(now[len(before) :])
        shown, read = read, end
    return texts


__all__ = ["TextEncoder", "token_texts"]
