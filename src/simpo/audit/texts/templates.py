"""Chat templates inside of texts: control tokens, turns that leaked into a completion, transcripts in one turn."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque

from simpo.audit.findings import Finding
from simpo.audit.kinds import KINDS, TEMPLATES, found
from simpo.audit.tally import Tally, around
from simpo.audit.texts.view import View
from simpo.data.reasons import shown
from simpo.records import Pair

# Marks by family. A family is named where its marks belong to no other.
_FAMILIES = {
    "ChatML": r"<\|im_(?:start|end|sep)\|>",
    "Llama 3": r"<\|(?:begin_of_text|end_of_text|eot_id|eom_id|start_header_id|end_header_id|python_tag)\|>",
    "Llama 4": r"<\|(?:header_start|header_end|eot|eom)\|>",
    "Llama 2 / Mistral": r"\[/?INST\]|<</?SYS>>|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]",
    "Gemma": r"<(?:start|end)_of_turn>",
    "DeepSeek": "<\uff5c[^\uff5c<>\\n]{2,30}\uff5c>",
    "Zephyr / Phi": r"<\|(?:user|assistant|system|end|prompter|endofprompt|tool)\|>",
    "gpt-oss": r"<\|(?:start|message|channel|return|call)\|>",
    "Cohere": r"<\|(?:START|END)_OF_TURN_TOKEN\|>|<\|(?:USER|CHATBOT|SYSTEM)_TOKEN\|>",
    "GPT": r"<\|(?:endoftext|startoftext|fim_prefix|fim_middle|fim_suffix|pad|padding|sep|bos|eos)\|>",
    "sentence ends": r"\A\s*<s>(?!.*</s>.)|</s>\s*\Z|<(?:bos|eos|pad|unk)>|\[(?:BOS|EOS)\]|\A\s*\[CLS\]|\[SEP\]\s*\Z",
}
CONTROL = re.compile("|".join(f"(?P<f{index}>{marks})" for index, marks in enumerate(_FAMILIES.values())))
_FAMILY_NAMES = tuple(_FAMILIES)
# Every mark holds one of these, which a search finds much faster.
_HINT = re.compile(
    "<[|\uff5c]|</?s>|<</?SYS|<(?:bos|eos|pad|unk)>|_of_turn>|\\[/?(?:INST|SYS|AVA|TOOL|BOS|EOS|CLS|SEP)"
)
_HEADER = re.compile(
    r"\s*(?:(?:system|user|assistant|model)\n)?\s*"
)  # what follows <|im_start|> and the like

# No pattern here begins with a run of white space that may be long: that would take the square of its length.
_SPEAKER_LINE = re.compile(
    r"^[ \t]*(?:#{1,4} ?)?(?:Human|User|USER|HUMAN|Customer|Instruction) ?:", re.MULTILINE
)
_REPLIER_AT_END = re.compile(
    r"\n[ \t]*(?:#{1,4} ?)?(?:Assistant|ASSISTANT|AI|GPT|Bot|Agent|Response|RESPONSE) ?:\s*\Z"
)
_NEXT_TURN = re.compile(
    r"(?<=\n\n)(?:### ?(?:Human|User|Instruction|Input|Question|Assistant|Response)|Human|USER|HUMAN) ?:"
    r"|(?<=\n)### (?:Human|Assistant|Instruction|Response) ?:|(?<=\n)Human: [^\n]*\n\n?Assistant:"
)
_OWN_MARK = re.compile(r"\A\s*(?:(?:Assistant|ASSISTANT) ?:|### ?(?:Assistant|Response) ?:? ?\n)")
_ANY_MARK = re.compile(
    r"^[ \t]*(?:#{1,4} ?)?(?:Human|User|Assistant|Instruction|Response|Question|Input) ?:",
    re.IGNORECASE | re.MULTILINE,
)
_ASKS_FOR_DIALOGUE = re.compile(
    r"dialog|conversation|transcript|script|interview|chat|role.?play|exchange|prompt", re.IGNORECASE
)


def family_of(match: re.Match[str]) -> str:
    """The family of templates that a match of `CONTROL` belongs to."""
    return _FAMILY_NAMES[int(str(match.lastgroup)[1:])]  # each way to match has a name


def leaked_turn(completion: str, prompt: str) -> re.Match[str] | None:
    """Where a completion goes on as somebody else, or begins with the name of its speaker."""
    match = _OWN_MARK.search(completion) or _NEXT_TURN.search(completion)
    if match is None or _ANY_MARK.search(prompt) or _ASKS_FOR_DIALOGUE.search(prompt):
        return None
    return match


def is_transcript(prompt: str) -> bool:
    """Whether a text is a dialogue with its speakers that ends where the assistant is to speak."""
    return bool(_REPLIER_AT_END.search(prompt[-80:]) and _SPEAKER_LINE.search(prompt))


def without_control_tokens(text: str) -> str:
    """The text without the control tokens at its two ends; ValueError where others stand inside."""
    marks = deque(match.span() for match in CONTROL.finditer(text))
    begin, end = 0, len(text)
    while marks and not text[begin : marks[0][0]].strip():
        header = _HEADER.match(text, marks[0][1])
        begin = header.end() if header and "start" in text[slice(*marks[0])] else marks[0][1]
        marks.popleft()
    while marks and not text[marks[-1][1] : end].strip():
        end = marks.pop()[0]
    if marks:
        raise ValueError("control tokens inside of a text")
    return text if (begin, end) == (0, len(text)) else text[begin:end].strip()


def _heading_or_name(mark: str) -> str:
    return "### headings" if "#" in mark else "Human: / Assistant:"


class Templates:
    """Control tokens, leaked turns and transcripts, and the families of templates that they belong to."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally() for kind in TEMPLATES if kind != "mixed_templates"}
        self._tokens: Counter[str] = Counter()
        self._sides: Counter[str] = Counter()
        self._families: dict[str, Counter[str]] = defaultdict(Counter)
        self._of_family: dict[str, Tally] = defaultdict(Tally)

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        if ("<" in view.whole or "[" in view.whole) and _HINT.search(view.whole):
            self._control_tokens(number, pair, view)
        for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            if (
                "Human" in text
                or "###" in text
                or "HUMAN" in text
                or "USER" in text
                or "ssistant" in text[:40]
            ):
                match = leaked_turn(text, view.prompt)
                if match:
                    self._note("leaked_turns", number, pair, f"{side} has {around(text, *match.span())}")
                    self._family(number, pair, _heading_or_name(match[0]), match[0])
        if len(pair.prompt) == 1 and is_transcript(view.prompt):
            self._note(
                "transcript_prompt", number, pair, f"the prompt ends in {shown(view.prompt[-60:], 80)}"
            )
            self._family(number, pair, _heading_or_name(view.prompt[-80:]), "transcript")

    def _control_tokens(self, number: int, pair: Pair, view: View) -> None:
        for side, text in view.texts():
            matches = list(CONTROL.finditer(text))
            if matches:
                self._note("control_tokens", number, pair, f"{side} has {around(text, *matches[0].span())}")
                self._sides[side] += 1
                for match in matches:
                    self._tokens[match[0].strip()] += 1
                    self._family(number, pair, family_of(match), match[0])

    def _note(self, kind: str, number: int, pair: Pair, detail: str) -> None:
        self._tallies[kind].add(number, pair, detail)

    def _family(self, number: int, pair: Pair, family: str, mark: str) -> None:
        if family not in ("sentence ends", "GPT"):  # these end texts of any template
            self._of_family[family].add(number, pair, f"{family}: {mark.strip()}")
            self._families[pair.source.file][family] += 1

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        tokens = {"tokens": dict(self._tokens.most_common(20)), "texts": dict(self._sides)}
        figures = {"control_tokens": tokens}
        listed = [
            finding
            for kind, tally in self._tallies.items()
            for finding in found(kind, tally, of, figures=figures.get(kind))
        ]
        return listed + self._mixed(of)

    def _mixed(self, of: int) -> list[Finding]:
        mixed = {file: dict(families) for file, families in self._families.items() if len(families) > 1}
        if not mixed:
            return []
        counts = {family: len(tally) for family, tally in self._of_family.items()}
        about = KINDS["mixed_templates"]
        parts = ", ".join(
            f"{family} in {count}" for family, count in sorted(counts.items(), key=lambda item: -item[1])
        )
        return [
            Finding(
                "mixed_templates",
                about.severity,
                f"The texts hold markers of {len(counts)} chat templates: {parts}.",
                about.action,
                sum(counts.values()),
                of,
                examples=tuple(tally.examples[0] for tally in self._of_family.values())[:5],
                figures={"families": counts, "files": mixed},
            )
        ]
