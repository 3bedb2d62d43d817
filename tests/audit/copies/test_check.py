"""Copies, near copies, contradictions, circles and frequent prompts, each found where it is and nowhere else."""

from __future__ import annotations

import random

import pytest

from simpo.audit.copies.check import Repeats
from simpo.audit.findings import Finding
from simpo.records import Pair
from tests.audit.made import pair

QUESTION = "Where is my order? It was due on Friday and nothing came."
ANSWERS = (
    "It left Lyon this morning and comes tomorrow.",
    "Please be patient, we look into it.",
    "No idea. Ask the carrier yourself, their number is on the parcel.",
    "I have sent you a new one free of charge, and you may keep the other if it turns up.",
)


def found(*pairs: Pair) -> dict[str, Finding]:
    check = Repeats()
    for number, one in enumerate(pairs):
        check.see(number, one)
    return {finding.kind: finding for finding in check.findings()}


def ranked(better: int, worse: int, line: int = 1, prompt: str = QUESTION) -> Pair:
    return pair(prompt, ANSWERS[better], ANSWERS[worse], line=line)


def test_pairs_that_have_nothing_to_do_with_each_other_give_a_note_on_their_spread_alone() -> None:
    findings = found(ranked(0, 1), pair("How do I cancel?", "In your account.", "You cannot."))
    assert list(findings) == ["prompt_spread"]
    assert findings["prompt_spread"].severity == "note"
    assert findings["prompt_spread"].figures["effective_prompts"] == 2.0


def test_no_pairs_give_no_findings() -> None:
    assert Repeats().findings() == []


def test_a_copy_names_the_first_of_its_kind() -> None:
    findings = found(ranked(0, 1, 1), ranked(0, 2, 2), ranked(0, 1, 3), ranked(0, 1, 4))
    copies = findings["exact_duplicate"]
    assert copies.rows.tolist() == [2, 3]
    assert (copies.count, copies.of, copies.repair) == (2, 4, "drop")
    assert [(str(one.source), str(one.other)) for one in copies.examples] == [
        ("made.jsonl:3", "made.jsonl:1"),
        ("made.jsonl:4", "made.jsonl:1"),
    ]
    assert copies.figures["largest"] == 3


def test_a_copy_in_other_case_or_white_space_is_another_kind_and_counted_once() -> None:
    findings = found(
        pair("Hello there", "Good day to you", "Go away"),
        pair("hello  there", "Good day to you\n", "GO AWAY"),
        pair("hello  there", "Good day to you\n", "GO AWAY"),
    )
    assert findings["normalised_duplicate"].rows.tolist() == [1]
    assert findings["exact_duplicate"].rows.tolist() == [2]
    assert "near_duplicate" not in findings


@pytest.mark.parametrize(("others", "severity"), [(998, "warning"), (999, "note")])
def test_one_near_copy_in_a_thousand_is_worth_a_warning_and_fewer_a_note(others: int, severity: str) -> None:
    near = pair(QUESTION.replace("Friday", "Firday"), ANSWERS[0], ANSWERS[1])
    rest = [pair(f"{index:x}" * 9, f"yes {index}", f"no {index}") for index in range(others)]
    finding = found(ranked(0, 1), near, *rest)["near_duplicate"]
    assert (finding.count, finding.severity, finding.repair) == (1, severity, "drop")


def test_a_near_copy_needs_prompt_and_both_completions() -> None:
    near = pair(QUESTION.replace("Friday", "Firday"), ANSWERS[0].rstrip("."), ANSWERS[1])
    other_answer = pair(QUESTION, ANSWERS[0], ANSWERS[2])
    other_question = pair("Do you sell blue lamps?", ANSWERS[0], ANSWERS[1])
    findings = found(ranked(0, 1), other_answer, other_question, near)
    assert findings["near_duplicate"].rows.tolist() == [3]
    (example,) = findings["near_duplicate"].examples
    assert example.other == ranked(0, 1).source
    assert example.detail.endswith("rejected 100.0 %")
    assert findings["near_prompt"].count == 2


def test_near_copies_leave_the_first_of_their_group() -> None:
    texts = [QUESTION, QUESTION + " Thx", QUESTION + " Thx!", QUESTION.replace("due", "deu")]
    findings = found(*(ranked(0, 1, prompt=text) for text in texts))
    assert findings["near_duplicate"].rows.tolist() == [1, 2, 3]
    assert findings["near_duplicate"].figures["largest"] == 4


def test_short_answers_to_one_long_prompt_are_no_near_copies() -> None:
    prompt = "Is the following statement true? " + "The parcel left the house in time. " * 40
    findings = found(
        pair(prompt, "Yes.", "No."), pair(prompt, "No.", "Yes."), pair(prompt, "Maybe.", "Certainly not.")
    )
    assert "near_duplicate" not in findings
    assert "near_contradiction" not in findings
    assert findings["contradiction"].rows.tolist() == [0, 1]


def test_a_contradiction_is_found_through_case_and_white_space() -> None:
    findings = found(
        pair("Hello", "Good day to you", "Go away"),
        pair("hello ", "GO  AWAY", "good day to you"),
        ranked(0, 1),
    )
    assert findings["contradiction"].rows.tolist() == [0, 1]
    assert findings["contradiction"].severity == "error"
    assert [str(one.other) for one in findings["contradiction"].examples] == ["made.jsonl:1"] * 2
    assert findings["contradiction"].figures == {"answer_pairs": 1, "tied": 2, "outvoted": 0}


def test_where_more_rows_say_one_thing_only_the_outvoted_ones_are_concerned() -> None:
    findings = found(ranked(0, 1), ranked(1, 0), ranked(0, 1))
    assert findings["contradiction"].rows.tolist() == [1]
    assert findings["contradiction"].figures == {"answer_pairs": 1, "tied": 0, "outvoted": 1}


def test_few_contradictions_among_many_pairs_are_a_warning() -> None:
    pairs = [pair(f"{number} {number * 7919} ?", "aaaa", "bbbb") for number in range(300)]
    assert found(*pairs, ranked(0, 1), ranked(1, 0))["contradiction"].severity == "warning"


def test_the_same_answers_to_another_prompt_contradict_nothing() -> None:
    findings = found(ranked(0, 1), ranked(1, 0, prompt="Tell me something about rude agents."))
    assert "contradiction" not in findings
    assert "near_contradiction" not in findings


def test_nearly_the_same_answers_the_other_way_round_are_a_near_contradiction() -> None:
    turned = pair(QUESTION + " Thx", ANSWERS[1].replace("look", "lok"), ANSWERS[0])
    findings = found(ranked(0, 1), turned)
    assert findings["near_contradiction"].rows.tolist() == [0, 1]
    assert findings["near_contradiction"].repair is None
    assert "contradiction" not in findings


def test_three_answers_in_a_circle_are_found_and_a_ranking_is_none() -> None:
    assert "preference_cycle" not in found(ranked(0, 1), ranked(1, 2), ranked(0, 2))
    findings = found(ranked(0, 1, 1), ranked(1, 2, 2), ranked(2, 0, 3), ranked(0, 3, 4))
    cycle = findings["preference_cycle"]
    assert cycle.rows.tolist() == [0, 1, 2]
    assert cycle.figures == {"cycles": 1, "largest": 3}
    (example,) = cycle.examples
    assert (str(example.source), str(example.other)) == ("made.jsonl:1", "made.jsonl:2")
    assert findings["chosen_and_rejected"].count == 3
    assert findings["chosen_and_rejected"].severity == "note"


def test_a_circle_that_needs_a_contradicted_pair_is_none_of_its_own() -> None:
    findings = found(ranked(0, 1), ranked(1, 0), ranked(1, 2), ranked(2, 0))
    assert "preference_cycle" not in findings
    assert findings["contradiction"].rows.tolist() == [0, 1]


def test_circles_of_two_prompts_are_two() -> None:
    pairs = [
        ranked(a, (a + 1) % 3, prompt=prompt) for prompt in ("Where?", "When will it come?") for a in range(3)
    ]
    assert found(*pairs)["preference_cycle"].figures == {"cycles": 2, "largest": 3}


def test_a_preference_graph_is_cyclic_exactly_where_taking_away_losers_leaves_something() -> None:
    rng = random.Random(5)
    for _ in range(60):
        edges = {tuple(rng.sample(range(6), 2)) for _ in range(rng.randrange(3, 9))}
        edges = {edge for edge in edges if edge[::-1] not in edges}
        if not edges:
            continue
        pairs = [
            pair("Rank these.", f"answer {'abcdef'[a] * 9}", f"answer {'abcdef'[b] * 9}") for a, b in edges
        ]
        assert ("preference_cycle" in found(*pairs)) == cyclic(edges), edges


def cyclic(edges: set[tuple[int, ...]]) -> bool:
    """By taking away, again and again, the answers that lose to none."""
    left = set(edges)
    while left:
        losers = {worse for _, worse in left}
        kept = {edge for edge in left if edge[0] in losers}
        if kept == left:
            return True
        left = kept
    return False


def test_a_prompt_with_a_third_of_the_pairs_dominates() -> None:
    often = [pair(QUESTION, f"answer {number} {'x' * number}", "no") for number in range(50)]
    rest = [pair(f"{number * 7919} and {number}?", "yes", "no") for number in range(100)]
    spread = found(*often, *rest)["prompt_spread"]
    assert spread.severity == "warning"
    assert spread.rows.tolist() == list(range(50))
    assert spread.figures["effective_prompts"] == pytest.approx(150**2 / (50**2 + 100), abs=0.05)
    assert spread.figures["share_of_top"]["1"] == pytest.approx(1 / 3, abs=1e-6)
    assert spread.figures["pairs_a_prompt"] == {"mean": round(150 / 101, 3), "median": 1.0, "largest": 50}


TASK = (
    "Decide whether the review of a customer is positive or negative. Answer with one word and nothing else. "
    * 3
)
REVIEWS = (
    "The lamp broke after a day.",
    "A lovely chair!",
    "Too small for us, sadly",
    "I would buy it again",
)


def review(number: int) -> str:
    return f"{TASK} Review: {REVIEWS[number % 4]} Order {number * 7919}, {number * 104729}."


def test_prompts_of_a_template_are_compared_by_what_differs() -> None:
    pairs = [pair(review(number), "positive", "negative", line=number + 1) for number in range(80)]
    pairs.append(pair(review(7).replace("Order", "Oder"), "positive", "negative", line=81))
    findings = found(*pairs)
    assert findings["near_duplicate"].rows.tolist() == [80]
    assert findings["near_prompt"].figures["templates"] == [81]
    assert findings["near_prompt"].count == 2
    assert "81 of 81 prompts (100.0 %) follow 1 template;" in findings["near_prompt"].title


def test_edits_of_one_text_are_no_copies_of_each_other() -> None:
    text = (
        "The parcel left Lyon this morning, and the carrier says that it comes to you tomorrow before noon. "
        * 3
    )
    edits = [text.replace("Lyon", place) for place in ("Graz", "Turin", "Malmo", "Cork")]
    findings = found(pair(QUESTION, edits[0], edits[1]), pair(QUESTION, edits[2], edits[3]))
    assert list(findings) == ["prompt_spread"]


def test_the_only_prompt_of_a_file_dominates_it() -> None:
    spread = found(*(pair(QUESTION, f"{number * 7919}", f"{number * 104729}") for number in range(1, 20)))
    assert spread["prompt_spread"].severity == "warning"
    assert spread["prompt_spread"].figures["effective_prompts"] == 1.0


def test_findings_do_not_depend_on_the_order_of_the_pairs() -> None:
    rng = random.Random(2)
    pairs = [
        ranked(a, b, prompt=QUESTION + " Thx" * t)
        for t in range(3)
        for a in range(4)
        for b in range(4)
        if a != b
    ]
    pairs += [ranked(0, 1), ranked(0, 1)]
    first = {kind: finding.count for kind, finding in found(*pairs).items()}
    rng.shuffle(pairs)
    assert {kind: finding.count for kind, finding in found(*pairs).items()} == first


def test_a_pair_out_of_turn_is_refused() -> None:
    check = Repeats()
    with pytest.raises(ValueError, match="pair 1 comes after 0 others"):
        check.see(1, ranked(0, 1))
