"""What a prompt asks, in a form that can be compared, and which prompts ask nearly the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from simpo.audit.copies.groups import Groups, Refused
from simpo.audit.copies.minhash import I64, NEAR, PERMUTATIONS, U8, U32, U64, candidates, signatures
from simpo.audit.copies.parts import Part, text_key
from simpo.audit.texts.structure import normalised
from simpo.records import Message

TEMPLATE = 50  # more prompts than this, alike and yet distinct, are taken for a template that was filled in
COMMON = 0.2  # share of a template's prompts from which a shingle is part of it
_SAMPLE = 256  # prompts of a template that are looked at to tell what they share
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, normalised, in parts that are compared apart, so that what is common to all prompts decides nothing.

    user: what the user says. system: what the system turns and the tools say, "" without any. dialogue: all turns but
    the system's with their roles, "" where there is only one turn of the user.
    """

    user: str
    system: str = ""
    dialogue: str = ""

    @property
    def key(self) -> int:
        """Equal where the prompts are the same but for case, white space and the form of characters."""
        return text_key(self.user, self.system, self.dialogue)


def asked(prompt: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Asked:
    """What a prompt asks."""
    system = [normalised(turn.content) for turn in prompt if turn.role == "system"]
    if tools:
        system.append(json.dumps(tools, ensure_ascii=False, sort_keys=True))
    turns = [turn for turn in prompt if turn.role != "system"]
    user = "\n".join(normalised(turn.content) for turn in turns if turn.role == "user")
    alone = len(turns) == 1 and turns[0].role == "user" and not turns[0].extra
    return Asked(user, "\n".join(system), "" if alone else "\n".join(map(_turn_text, turns)))


def _turn_text(turn: Message) -> str:
    extra = json.dumps(turn.extra, ensure_ascii=False, sort_keys=True) if turn.extra else ""
    return f"{turn.role}: {normalised(turn.content)}{extra}"


@dataclass(frozen=True, slots=True)
class Template:
    """What many prompts share: how many they are, and the shingles of their users, systems and dialogues."""

    size: int
    common: tuple[U32, U32, U32]


class Prompts:
    """Distinct prompts, numbered as they come, and which of them are nearly equal.

    Two prompts are nearly equal where each of their parts (what the user says, what the system says, the dialogue) has
    a Jaccard index of NEAR or more; a part that one of them lacks is not compared. Where more than TEMPLATE prompts are
    alike, what they share is left out of the comparison. Some 400 bytes of memory a prompt.
    """

    def __init__(self) -> None:
        self.templates: list[Template] = []
        self._user, self._system, self._dialogue = Part(), Part(), Part()
        self._template_of: I64 = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._user)

    @property
    def keys(self) -> U64:
        """[P] a hash of each distinct prompt."""
        return np.array(self._user.signed.keys, dtype=np.uint64)

    def add(self, prompt: Asked) -> int:
        """The number of a prompt, from 0; one that came before has the number it had."""
        number = self._user.add(prompt.key, prompt.user)
        if number == len(self._system):
            self._system.append(prompt.system)
            self._dialogue.append(prompt.dialogue)
        return number

    def alike(self, one: int, other: int) -> float:
        """The smallest Jaccard index of the parts of two prompts, by their numbers; see `near` for templates."""
        template = self._template(one)
        without = (
            template.common if template is not None and template is self._template(other) else (None,) * 3
        )
        parts = (self._user, self._system, self._dialogue)
        return min(part.alike(one, other, common) for part, common in zip(parts, without, strict=True))

    def alike_to(self, number: int, other: Asked) -> float:
        """As `alike`, with a prompt that is none of these."""
        template = self._template(number)
        user, system, dialogue = (None,) * 3 if template is None else template.common
        alike = self._user.alike_text(number, other.user, user)
        if other.system:
            alike = min(alike, self._system.alike_text(number, other.system, system))
        if other.dialogue:
            alike = min(alike, self._dialogue.alike_text(number, other.dialogue, dialogue))
        return alike

    def user_signatures(self) -> U8:
        """[P, PERMUTATIONS] of what the user says in each."""
        return self._user.signed.signatures()

    def near(self) -> tuple[Groups, Groups]:
        """The prompts joined where they are nearly equal, and joined where that is likely by their signatures alone.

        The first is exact in what it joins: each link was verified on the texts. It may miss a link: of two prompts
        with an index of 0.7 in one case of 50, of 0.75 in one of 500. Neither depends on the order of the prompts, and
        a prompt that comes later takes no group apart, but may make two of them one; except where it makes a template
        of a group, which is then told apart by what its prompts do not share. Sets `templates`, by which `alike` goes.
        """
        self.templates, self._template_of = [], np.full(len(self), -1, np.int64)
        verified, coarse = self._joined(np.arange(len(self), dtype=np.int64), self.user_signatures())
        for members in coarse.larger_than(TEMPLATE):
            self._template_of[members] = len(self.templates)
            self.templates.append(self._template_made(members))
            inside, inside_coarse = self._joined(members, self._signed_without_template(members))
            verified.split(members, inside)
            coarse.split(members, inside_coarse)
        return verified, coarse

    def _template(self, number: int) -> Template | None:
        at = self._template_of[number] if number < len(self._template_of) else -1
        return None if at < 0 else self.templates[at]

    def _template_made(self, members: I64) -> Template:
        sample = members[np.argsort(self.keys[members])][:_SAMPLE].tolist()
        user, system, dialogue = (
            part.common(sample, COMMON) for part in (self._user, self._system, self._dialogue)
        )
        return Template(len(members), (user, system, dialogue))

    def _signed_without_template(self, members: I64) -> U8:
        template = self._template(int(members[0]))
        signed = np.empty((len(members), PERMUTATIONS), np.uint8)
        texts = self._user.texts(members.tolist())
        for start in range(0, len(members), _AT_ONCE):
            part = list(islice(texts, _AT_ONCE))
            signed[start : start + len(part)] = signatures(part, template.common[0] if template else None)
        return signed

    def _joined(self, members: I64, signed: U8) -> tuple[Groups, Groups]:
        """Some prompts joined, by their places in `members`: verified and likely; signed: of what the users say."""
        verified, coarse = Groups(len(members)), Groups(len(members))
        if len(members) < 2:
            return verified, coarse
        refused = Refused(len(members))
        tie_break = [
            column[members] for column in (self._system.sort_key(), self._dialogue.sort_key(), self.keys)
        ]
        for one, other in candidates(signed, tie_break):
            left, right = members[one], members[other]
            fits = self._system.likely(left, right) & self._dialogue.likely(left, right)
            one, other = one[fits], other[fits]
            coarse.join(one, other)
            self._verify(one, other, members, verified, refused)
        return verified, coarse

    def _verify(self, one: I64, other: I64, members: I64, groups: Groups, refused: Refused) -> None:
        """Join those of the candidates that are nearly equal; what is joined already needs no look."""
        # A join takes time linear in the prompts, so there must not be many: they come in parts of a few percent.
        at_once = max(256, len(members) // 64)
        while len(one):
            worth = groups.apart(one, other) & refused.open(one, other)
            one, other = one[worth], other[worth]
            links = []
            for left, right in zip(one[:at_once].tolist(), other[:at_once].tolist(), strict=True):
                pair = (min(left, right), max(left, right))
                if pair in refused:
                    continue
                if self.alike(int(members[left]), int(members[right])) >= NEAR:
                    links.append(pair)
                else:
                    refused.add(*pair)
            one, other = one[at_once:], other[at_once:]
            if links:
                joined = np.array(links, dtype=np.int64)
                groups.join(joined[:, 0], joined[:, 1])


__all__ = ["Asked", "Prompts", "Template", "asked", "text_key"]
