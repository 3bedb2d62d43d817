"""Every kind of finding by family, for the documentation: the table's, and those whose checks word themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simpo.audit.copies.duplicates import FEW, NEAR_COMPLETION, NEAR_PROMPT
from simpo.audit.copies.minhash import NEAR
from simpo.audit.findings import Repair
from simpo.audit.kinds import CONTENT, ENCODING, LANGUAGE, PRIVACY, SCORES, STRUCTURE, TEMPLATES, Kind
from simpo.data.reasons import NO_PAIR, REASONS


@dataclass(frozen=True, slots=True)
class Described:
    """A kind in words: how severe it is and when, what it says, how it is found, what to do."""

    severity: str
    says: str
    how: str = ""
    action: str = ""
    repair: Repair | None = None


def _of_table(kinds: Mapping[str, Kind]) -> dict[str, Described]:
    return {
        name: Described(_severity(kind), kind.clause, kind.how, kind.action, kind.repair)
        for name, kind in kinds.items()
    }


def _severity(kind: Kind) -> str:
    return f"{kind.severity}, note below {100 * kind.note_below:g} %" if kind.note_below else kind.severity


def _left_out() -> dict[str, Described]:
    return {
        reason: Described("note, warning above 10 %", says)
        if reason in NO_PAIR
        else Described("error", says, repair="drop")
        for reason, says in REASONS.items()
    }


_COMPARED: Mapping[str, Described] = {
    "exact_duplicate": Described(
        "warning",
        "pairs that are a copy, word for word, of an earlier pair",
        "Equal prompts (turns and tools), chosen and rejected.",
        "Drop the copies: they weigh a judgement twice, and count as a test where they cross a split.",
        "drop",
    ),
    "normalised_duplicate": Described(
        "warning",
        "pairs that are an earlier pair again but for case, white space or the form of characters",
        "As exact_duplicate after the normalising of same_after_normalising.",
        "Drop the later ones.",
        "drop",
    ),
    "near_duplicate": Described(
        f"warning, note below {100 * FEW:g} %",
        "pairs that are nearly the same as another",
        "MinHash with locality-sensitive hashing over runs of 5 characters; candidates are compared in full. Jaccard's "
        f"index of each completion {NEAR_COMPLETION} or more, and of what the user and the system say and the dialogue "
        f"{NEAR_PROMPT} or more each; and two pairs differ by less than half of what their own completions differ by. "
        "Where more than 50 prompts are alike, what they share is a template and left out of the comparison.",
        "Drop all but the first of each group; never let a group cross a split.",
        "drop",
    ),
    "near_contradiction": Described(
        "warning",
        "pairs that rank nearly the same answers to nearly the same prompt the other way round",
        "As near_duplicate, with chosen against rejected.",
        "Look at them: where the small difference does not decide, one of the two labels is wrong.",
    ),
    "contradiction": Described(
        "warning, error from 1 %",
        "pairs whose two answers are ranked the other way as often or more often",
        "The same prompt with the same two answers, after normalising, in both directions; the outvoted rows, and all "
        "rows of a draw.",
        "Drop them, or have them judged again.",
        "drop",
    ),
    "preference_cycle": Described(
        "warning",
        "circles of answers to one prompt, each preferred to the next",
        "Strongly connected parts of three answers or more in the graph of a prompt's preferences, without the "
        "contradicted ones.",
        "Look at them: at least one label of each circle is wrong.",
    ),
    "chosen_and_rejected": Described(
        "note",
        "answers that are chosen in one pair and rejected in another of the same prompt",
        "By prompt and answer, after normalising.",
        "Nothing, where answers were ranked; where they were not, look whether the labels agree.",
    ),
    "prompt_spread": Described(
        "note, warning where dominant prompts hold 10 % of the pairs",
        "how many prompts there are in effect, and which prompts dominate",
        "The inverse of the sum of squared shares. A prompt dominates with 10 pairs, more than 1 % of all and 10 times "
        "the mean of the others.",
        "Take fewer pairs of the frequent prompts, or give theirs less weight.",
    ),
    "near_prompt": Described(
        "note",
        "prompts that are nearly equal to another prompt",
        f"As near_duplicate, over prompts alone, with an index of {NEAR} or more for each part.",
        "Keep each group on one side of a split: `simpo build` does.",
    ),
}

_HELD_OUT: Mapping[str, Described] = {
    "leaked_prompt": Described(
        "note where none is, warning, error from 1 % of the held-out prompts",
        "held-out prompts that are in the data, or nearly",
        "`--held-out`: the same prompt after normalising, or one as near as near_prompt asks.",
        "Drop the pairs: what is measured on them is memory.",
        "drop",
    ),
    "leaked_answer": Described(
        "note, warning where both answers of a held-out pair stand in one pair",
        "chosen answers that stand in the held-out files",
        "Answers of 40 characters or more, after normalising.",
        "Where both answers stand there, the prompt is likely the same in other words: keep such pairs apart.",
    ),
    "benchmark_prompt": Described(
        "note where none is, warning",
        "questions of a benchmark that are in the data",
        "`--benchmark`: the same question, nearly the same, or one of which a prompt holds 80 % in runs of 32 "
        "characters.",
        "Drop the pairs, or do not report that benchmark.",
        "drop",
    ),
    "token_lengths": Described(
        "note, warning from 1 % that do not fit",
        "how long the pairs are in a model's tokens, and how many do not fit",
        "`--model`: rendered as training renders them; prompt and longer completion against `--max-length` and the "
        "model's own limit.",
        "Raise data.max_length, or let training leave the long ones out (they are never cut).",
    ),
    "unrenderable": Described(
        "error",
        "pairs that cannot be rendered for the model",
        "`--model`: the chat template refuses the turns, or nothing is left to score.",
        "Drop them, or mend the turns that the chat template refuses.",
        "drop",
    ),
}

_VOTES: Mapping[str, Described] = {
    "agreement": Described(
        "note, warning below an alpha of 0.4",
        "how far the annotators agree, beyond chance",
        "Krippendorff's alpha (nominal) and Cohen's (two annotators) or Fleiss' kappa, intervals over items, ties that "
        "were left out included.",
        "Below 0.4: a clearer guideline and more votes before more pairs.",
    ),
    "weak_annotator": Described(
        "warning",
        "annotators who agree with the others less than these do among themselves",
        "By 5 points or more, beyond chance for the number of annotators; 20 votes or more.",
        "Read some of these votes against the guideline; train the annotator, or leave the votes out.",
    ),
    "one_sided_annotator": Described(
        "warning",
        "annotators who nearly always choose the reply shown first, or second",
        "95 % of 20 votes or more.",
        "Leave the votes out: they say nothing of the replies.",
    ),
    "length_bound_annotator": Described(
        "warning",
        "annotators who nearly always choose the longer reply, or the shorter",
        "95 % of 20 votes or more.",
        "Read some of these votes; the guideline may have to speak of length.",
    ),
    "few_votes": Described(
        "note",
        "annotators with too few votes to say anything of",
        "Fewer than 20 votes.",
        "Nothing.",
    ),
    "position_bias": Described(
        "note, warning from 5 points",
        "how often the reply that was shown first wins",
        "Share of decided votes with a 95 % interval over items, by annotator too.",
        "Show each pair in both orders, and keep the verdicts that stay.",
    ),
    "order_turns_verdict": Described(
        "note, warning from 10 %",
        "verdicts that turn when the same annotator sees the replies in the other order",
        "Items that one annotator judged in both orders.",
        "Judge each pair in both orders and keep what stays; count the rest as ties.",
    ),
    "label_against_votes": Described(
        "error",
        "pairs that are labelled against the majority of their votes",
        "More votes for the rejected reply than for the chosen one.",
        "Swap chosen and rejected, unless somebody overruled the annotators on purpose.",
        "swap",
    ),
}

_LABELS: Mapping[str, Described] = {
    "length_bias": Described(
        "note, warning from 15 points",
        "how often the longer reply is chosen",
        "Over pairs of unequal length in characters, with a 95 % interval over prompts; as a curve over the log ratio "
        "of the lengths, by category, and as the AUC of length alone.",
        "Skewed: train with a reward that is a mean over tokens, or build with balanced lengths; watch reply lengths.",
    ),
    "length_matched": Described(
        "note",
        "pairs whose two replies are equally long within 10 %",
        "By the log ratio of the lengths in characters.",
        "Measure a model on these alone as well: there, length cannot have decided.",
    ),
    "style_bias": Described(
        "note, warning where style foretells 70 % and all words little more",
        "how many labels length, style (lists, bold, greetings ...) and all words foretell",
        "Logistic regressions on the difference of the two replies, cross-validated over prompts; at most 50,000 "
        "pairs.",
        "Compare a trained model's held-out accuracy with these: below them it has learnt less than style.",
    ),
    "suspected_flip": Described(
        "note, warning where turned labels can be counted",
        "labels that stand against what the other pairs teach",
        "The cross-validated scores of style_bias (and of a model, with `--score-labels`), made into the chance of "
        "each label to be turned by a mixture of right and turned labels; counted from one half on. From 200 pairs "
        "on, and counted from 500 on.",
        "Read the ranked list from the top and correct what is wrong; dropping them unread also drops right labels.",
        "drop",
    ),
}

LEFT_OUT = "Rows that were left out"
FAMILIES: Mapping[str, Mapping[str, Described]] = {
    LEFT_OUT: _left_out(),
    "Structure": _of_table(STRUCTURE),
    "Chat templates in texts": _of_table(TEMPLATES),
    "Encodings and odd characters": _of_table(ENCODING),
    "Content": _of_table(CONTENT),
    "Languages": _of_table(LANGUAGE),
    "Secrets and personal data": _of_table(PRIVACY),
    "Scores that the rows carry": _of_table(SCORES),
    "Pairs compared with each other": _COMPARED,
    "Annotators and votes": _VOTES,
    "Labels": _LABELS,
    "Other files, and a model": _HELD_OUT,
}
DESCRIBED: Mapping[str, Described] = {
    name: one for family in FAMILIES.values() for name, one in family.items()
}
