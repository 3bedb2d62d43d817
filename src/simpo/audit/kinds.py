"""The table of what the audit's own checks look for: what each kind means, how it is found, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simpo.audit.findings import Finding, Repair, Severity
from simpo.audit.tally import Sides, Tally


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that is looked for.

    clause: completes "In 3 of 90 pairs (3.3 %) ...". how: the rule with its thresholds, for the documentation.
    note_below: a share of pairs under which the finding is only a note.
    """

    severity: Severity
    clause: str
    how: str
    action: str
    repair: Repair | None = None
    note_below: float = 0.0


STRUCTURE: Mapping[str, Kind] = {
    "same_after_normalising": Kind(
        "warning",
        "the two completions are the same but for case, white space or the form of characters",
        "Equal after NFKC, case folding, dropping invisible characters and making every run of white space one blank.",
        "Drop them: they teach a difference that no reader sees.",
        "drop",
    ),
    "blank_completion": Kind(
        "error",
        "a completion holds nothing that can be seen",
        "Nothing is left after white space, control and format characters (zero width, byte order mark) are removed.",
        "Drop them.",
        "drop",
    ),
    "stand_in_completion": Kind(
        "warning",
        "a completion is the name of a missing value",
        "The whole completion is null, None, nan, N/A, undefined, [deleted], [removed] or the like, and the prompt "
        "does not hold that word.",
        "Drop them, unless the word is the answer.",
        "drop",
        note_below=0.001,
    ),
    "role_order": Kind(
        "warning",
        "the turns of the prompt do not alternate as chat templates expect",
        "A prompt that begins with the assistant, a system turn after the first turns, two turns of the user or of "
        "the assistant in a row, or a tool result that follows no assistant turn.",
        "Look at how the turns were made: several chat templates (Gemma, Mistral) refuse such prompts.",
        note_below=0.005,
    ),
    "prompt_ends_in_system": Kind(
        "warning",
        "the prompt ends in a system turn",
        "The role of the prompt's last turn.",
        "Move the request into a user turn: in production the model answers users.",
    ),
    "prompt_ends_in_tool": Kind(
        "note",
        "the prompt ends in the result of a tool",
        "The role of the prompt's last turn.",
        "Nothing, if the model answers after tool calls in production too.",
    ),
    "blank_turn": Kind(
        "warning",
        "a turn of the prompt before the last is blank",
        "A turn of the user or the assistant that is empty or white space and calls no tool.",
        "Look at where the text went: an answer to nothing, or nothing as an answer, teaches the wrong thing.",
        note_below=0.001,
    ),
    "echoed_prompt": Kind(
        "warning",
        "a completion begins by repeating the prompt",
        "The completion begins with the whole text of the prompt's last turn (40 characters or more) and goes on.",
        "Cut the prompt off where an export glued it to the reply; keep it where the task is to repeat.",
        note_below=0.01,
    ),
}

TEMPLATES: Mapping[str, Kind] = {
    "control_tokens": Kind(
        "warning",
        "a text holds control tokens of a chat template",
        "Literal markers such as <|im_start|>, <|eot_id|>, [INST], <<SYS>>, <start_of_turn>, <|endoftext|"
        ">, or <s> and </s> at an end of the text.",
        "Remove the markers: the chat template writes them itself, and the model would learn to type them.",
        "mend",
    ),
    "leaked_turns": Kind(
        "warning",
        "a completion runs on into another turn of the dialogue",
        "A line of the completion that begins with Human:, User:, ### Instruction: or the like after a blank line, "
        "or a completion that begins with Assistant: or ### Response:, where the prompt holds no such line and asks "
        "for no dialogue.",
        "Drop them, or cut them at the marker: the model would learn to speak for the user.",
        "drop",
        note_below=0.001,
    ),
    "transcript_prompt": Kind(
        "warning",
        "the prompt is a transcript with its speakers written into one turn",
        "A prompt of one turn with lines that begin with Human: or User: and a last line that is only Assistant: or "
        "### Response: or the like.",
        "Split it into turns: otherwise the chat template wraps a dialogue into a user's message.",
    ),
    "mixed_templates": Kind(
        "warning",
        "the texts hold markers of several chat templates",
        "The markers of control_tokens, leaked_turns and transcript_prompt by family: two or more in one file.",
        "Look at the parts the file was joined from, and bring them to one form first.",
    ),
}

ENCODING: Mapping[str, Kind] = {
    "mojibake": Kind(
        "warning",
        "a text was decoded with the wrong encoding",
        "Characters that are UTF-8 read as Windows-1252 or Latin-1 (\u00c3\u00a9 for \u00e9): they turn into "
        "valid UTF-8 when written back.",
        "Decode the source anew as UTF-8, or let a build mend the affected characters.",
        "mend",
        note_below=0.005,
    ),
    "replacement_character": Kind(
        "warning",
        "a text holds the replacement character U+FFFD",
        "The character itself: something could not be decoded and is lost.",
        "Read the source again with its right encoding, or drop the pairs.",
        "drop",
        note_below=0.005,
    ),
    "lone_surrogate": Kind(
        "error",
        "a text holds half of a surrogate pair",
        "Code points U+D800 to U+DFFF, which no tokenizer can encode.",
        "Drop them.",
        "drop",
    ),
    "control_characters": Kind(
        "warning",
        "a text holds control characters",
        "NUL and the other C0 and C1 controls except tab, line feed and carriage return.",
        "Let a build remove them.",
        "mend",
        note_below=0.005,
    ),
    "invisible_characters": Kind(
        "note",
        "a text holds characters that cannot be seen",
        "Zero width space, word joiner, byte order mark and marks of direction; joiners between two letters or emoji "
        "belong to the script and are not counted.",
        "Let a build remove them: they change the tokens and not the text.",
        "mend",
    ),
    "html_entities": Kind(
        "note",
        "a text holds HTML entities outside of any HTML",
        "&amp; &quot; &#39; and the like, in a text without tags and code.",
        "Let a build put the characters in their place.",
        "mend",
    ),
    "escaped_newlines": Kind(
        "warning",
        "line breaks are written as backslash and n",
        "Two or more literal \\n in a text that has no real line break, no code and no path.",
        "Let a build put line breaks in their place: the text was escaped twice.",
        "mend",
        note_below=0.001,
    ),
}

CONTENT: Mapping[str, Kind] = {
    "placeholders": Kind(
        "note",
        "a completion holds a placeholder that nobody filled in",
        "{{name}}, [Your Name], [Insert date], <YOUR_NAME>, lorem ipsum, outside of code.",
        "Fill them in where a customer would get to see them; templates that were asked for are fine.",
    ),
    "refusals": Kind(
        "note",
        "a completion refuses or says that it is a language model",
        "The first 300 characters hold a phrase of refusal (I cannot help with, I am unable to ...) or of a model "
        "that speaks of itself (As an AI language model).",
        "Look at whether refusing won where it should: the model will refuse as often as the chosen side does.",
    ),
    "common_openings": Kind(
        "note",
        "a completion begins with an opening that many share",
        "The first four words, without case; openings of at least 2 % of the completions of one side and 5 of them.",
        "Vary or shorten them if they say nothing: the model will begin so too.",
    ),
    "truncated": Kind(
        "note",
        "a completion looks cut off",
        "An open code fence; or 200 characters or more of prose whose last line (25 characters or more) ends in a "
        "comma, a hyphen, an opening bracket or a word that needs another, or ends in a letter where the lines before "
        "end in full stops, and is no list item, heading, table, code, link or hashtag. A warning where 5 % of the "
        "chosen side or more is cut, or the cut side wins.",
        "Generate again with a higher limit, or drop the pairs whose chosen side is cut.",
    ),
    "verifiable_answers": Kind(
        "note",
        "a program could check the answer",
        "The row has a column answer, gold, solution, ground_truth, target or tests; or both completions end in a "
        "marked answer (\\boxed{...}, #### 42).",
        "Think of training on rollouts with the check as the reward.",
    ),
}

LANGUAGE: Mapping[str, Kind] = {
    "language_mismatch": Kind(
        "warning",
        "the chosen completion is in another language than the prompt",
        "By script, and for Latin and Cyrillic letters by stop words; both texts must be clear, and the prompt must "
        "not speak of a language or a translation.",
        "Look at them: if the answer should be in the language of the prompt, drop or swap them.",
        note_below=0.005,
    ),
    "mixed_languages": Kind(
        "note",
        "the prompt is in another language than most",
        "The languages of the prompts that are clear, as above.",
        "Make sure that each language has enough pairs, and measure each by itself.",
    ),
}

PRIVACY: Mapping[str, Kind] = {
    "secret": Kind(
        "error",
        "a text holds what looks like a key or a password of a system",
        "Private keys (PEM), JSON web tokens, keys of AWS, GitHub, GitLab, Slack, Stripe, Google, OpenAI, Anthropic "
        "and Hugging Face, URLs with a password.",
        "Revoke the key, and drop the pairs: a model can be made to say what it was trained on.",
        "drop",
    ),
    "card_number": Kind(
        "error",
        "a text holds what looks like the number of a payment card",
        "14 to 16 digits in groups, or in a text that speaks of cards, with the prefix and length of a network and a "
        "right check digit (Luhn); numbers that networks publish for tests are not counted.",
        "Drop them: such numbers must not be stored.",
        "drop",
    ),
    "iban": Kind(
        "error",
        "a text holds the number of a bank account",
        "An IBAN of its country's length and with right check digits (ISO 7064 mod 97-10); published examples are "
        "not counted.",
        "Drop them.",
        "drop",
    ),
    "national_id": Kind(
        "error",
        "a text holds what looks like a US social security number",
        "ddd-dd-dddd with a valid area, group and serial, and the words social security or SSN in the same text.",
        "Drop them.",
        "drop",
    ),
    "email_address": Kind(
        "warning",
        "a text holds an e-mail address",
        "An address whose domain is none reserved for examples (example.com, .test, ...) and no stand-in "
        "(email.com, domain.com, ...).",
        "Let a build put name@example.com in their place, unless they are the company's own public addresses.",
        "mend",
        note_below=0.005,
    ),
    "phone_number": Kind(
        "warning",
        "a text holds a phone number",
        "+ and 8 to 15 digits with separators, or a North American number with separators; numbers reserved for "
        "fiction (555) and toll-free numbers are not counted.",
        "Let a build put 555-0100 in their place, unless they are the company's own public numbers.",
        "mend",
        note_below=0.005,
    ),
}

SCORES: Mapping[str, Kind] = {
    "equal_scores": Kind(
        "warning",
        "the two completions carry the same score",
        "The row's scores of both completions (score_chosen and score_rejected, or the like) are equal, or its margin "
        "is 0.",
        "Drop them, or have them judged again: nothing says which of the two is better.",
        "drop",
    ),
    "score_against_label": Kind(
        "error",
        "the rejected completion carries the higher score",
        "The row's score of rejected is above that of chosen, or its margin is negative. A note where that is so in "
        "more than half of the scored pairs: then lower scores are rather the better ones.",
        "Swap the two sides if the scores are right; drop the pairs if nobody knows.",
        "swap",
    ),
    "scored_pairs": Kind(
        "note",
        "the row says by how much the chosen completion is better",
        "Scores of both completions, or a margin.",
        "`--min-margin` leaves out pairs whose scores are close.",
    ),
}

KINDS: Mapping[str, Kind] = {**STRUCTURE, **TEMPLATES, **ENCODING, **CONTENT, **LANGUAGE, **PRIVACY, **SCORES}


def percent(share: float) -> str:
    """A share as text: `12.3 %`, `0.04 %`, `below 0.01 %`."""
    if share == 0 or share >= 0.001:
        return f"{100 * share:.1f} %"
    return f"{100 * share:.2f} %" if share >= 0.0001 else "below 0.01 %"


def found(
    kind: str,
    tally: Tally,
    of: int,
    *,
    figures: Mapping[str, Any] | None = None,
    sides: Sides | None = None,
    severity: Severity | None = None,
) -> list[Finding]:
    """The finding of a tally by the table, or nothing where the tally is empty.

    sides: on which side the trait stands, for the sentence and the figures. severity: another one than the table's.
    """
    count, about = len(tally), KINDS[kind]
    if not count:
        return []
    share = count / of
    return [
        Finding(
            kind,
            "note" if share < about.note_below else severity or about.severity,
            f"In {count:,} of {of:,} pairs ({percent(share)}) {about.clause}{sides.clause() if sides else ''}.",
            about.action,
            count,
            of,
            examples=tuple(tally.examples),
            rows=tally.rows,
            repair=about.repair,
            figures={**(sides.figures() if sides else {}), **(figures or {})},
        )
    ]
