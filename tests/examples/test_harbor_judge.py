"""The rubric judge: it recovers what a reply was built to be, and no text can upset it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.harbor.grammar import optional_facts, pick, render
from examples.harbor.judge import score
from examples.harbor.replies import STYLES, WEIGHTS, Reply, draw_reply, write_reply
from examples.harbor.tickets import INTENTS, Ticket, draw_ticket


def judged(held_out: bool, count: int = 250) -> Iterator[tuple[Ticket, Reply, dict[str, Any]]]:
    """Replies in every style on drawn tickets, each with what the judge says."""
    for index in range(count):
        ticket = draw_ticket(11, "recovery", index, held_out)
        rng = random.Random(index)
        for style in STYLES.values():
            reply = draw_reply(ticket, style, rng)
            yield ticket, reply, score(ticket.prompt, reply.text, {"ticket": ticket.record()})


@pytest.mark.parametrize("held_out", [False, True])
def test_the_judge_recovers_how_a_reply_was_built(held_out: bool) -> None:
    right: dict[str, list[bool]] = {
        name: [] for name in ("action", "facts", "promise", "filler", "tone", "score")
    }
    for _, reply, verdict in judged(held_out):
        parts, quality = verdict["parts"], reply.quality
        right["action"].append((parts["right_action"] == 1.0) == quality.right)
        right["facts"].append(abs(parts["facts"] - quality.facts) < 0.01)
        right["promise"].append((parts["no_forbidden_promise"] == 0.0) == quality.promise)
        right["filler"].append((parts["no_filler"] < 1.0) == (quality.fillers > 0))
        right["tone"].append((parts["courteous"] == 0.0) == (quality.tone == "defensive"))
        right["score"].append(abs(verdict["score"] - quality.score) < 0.1)
    shares = {name: sum(values) / len(values) for name, values in right.items()}
    assert shares["action"] >= 0.97, shares
    assert all(share >= 0.95 for share in shares.values()), shares


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: str(intent.name))
def test_every_wording_of_an_action_is_recognised_and_its_rivals_are_not(intent: Any) -> None:
    for index in range(3000):
        ticket = draw_ticket(0, "wordings", index, held_out=True)
        if ticket.intent is not intent:
            continue
        for action in intent.actions:
            for template in (*action.texts, *action.reserved):
                text = render(template, ticket.slots, random.Random(index), action.needs)
                verdict = score(ticket.prompt, text, {"ticket": ticket.record()})
                assert (verdict["parts"]["right_action"] == 1.0) == (action is ticket.action), text
                assert verdict["escalates"] or action is ticket.action
        return
    pytest.fail("no ticket drawn")


def test_every_wording_can_state_every_fact_its_action_needs() -> None:
    for intent in INTENTS:
        for action in intent.actions:
            for template in (*action.texts, *action.reserved):
                assert optional_facts(template) >= set(action.needs), template
        assert {case.action for case in intent.cases} == {action.name for action in intent.actions}


def a_ticket(intent: str, case: str) -> Ticket:
    tickets = (draw_ticket(0, "free", index, False) for index in range(3000))
    return next(t for t in tickets if t.intent.name == intent and t.case.name == case)


def right_action(ticket: Ticket, text: str) -> float:
    return float(score(ticket.prompt, text, {"ticket": ticket.record()})["parts"]["right_action"])


@pytest.mark.parametrize(
    ("intent", "case", "reply", "expected"),
    [
        ("double_charge", "settled", "We have issued a refund for the duplicate charge.", 1.0),
        ("double_charge", "settled", "Unfortunately we cannot refund this charge.", 0.0),
        ("double_charge", "settled", "If it was charged twice we will refund you.", 0.0),
        ("double_charge", "pending", "This is a pending charge, please wait until it drops off.", 1.0),
        ("double_charge", "pending", "We will refund the pending charge to your card today.", 0.0),
        ("double_charge", "pending", "It is a temporary hold. We have also refunded you the money.", 0.5),
        (
            "late_parcel",
            "in_time",
            "Please wait until then. If it does not come, we will send a replacement.",
            1.0,
        ),
        ("late_parcel", "overdue", "We will ship you a replacement right away.", 1.0),
        ("late_parcel", "overdue", "Would you like a replacement or a refund?", 0.0),
        ("late_parcel", "overdue", "We are not able to send a replacement.", 0.0),
        ("damaged_item", "no_photo", "Can you send us a picture of the damage?", 1.0),
        ("damaged_item", "no_stock", "We will give you your money back.", 1.0),
        ("return_request", "late", "Sorry, we can't accept the return because the window has closed.", 1.0),
        ("return_request", "in_window", "Please use the attached return label.", 1.0),
        ("address_change", "gone", "We cannot change the address, but you can redirect the parcel.", 1.0),
        ("address_change", "packing", "I updated your shipping address.", 1.0),
        ("plan_change", "upgrade", "Your new plan starts immediately.", 1.0),
        (
            "plan_change",
            "downgrade",
            "The change takes effect at the end of your current billing period.",
            1.0,
        ),
        ("promo_code", "too_late", "I'm afraid the code has expired and cannot be applied.", 1.0),
        ("customs", "not_included", "You will need to pay the customs fee to the carrier.", 1.0),
        ("invoice_copy", "company_no_vat", "Please provide your company's VAT number.", 1.0),
        ("renewal_refund", "used", "There is no refund for a renewal that was used.", 1.0),
    ],
)
def test_free_text_is_read_with_negation_and_conditions(
    intent: str, case: str, reply: str, expected: float
) -> None:
    assert right_action(a_ticket(intent, case), reply) == expected


def parts_of(reply: str, intent: str = "late_parcel", case: str = "in_time") -> dict[str, float]:
    ticket = a_ticket(intent, case)
    return dict(score(ticket.prompt, reply, {"ticket": ticket.record()})["parts"])


def test_facts_count_in_any_common_notation() -> None:
    ticket = a_ticket("double_charge", "settled")
    order, amount, days = ticket.slots["order"], ticket.slots["amount"], ticket.slots["days"]
    word = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")[int(days)]
    row = {"ticket": ticket.record()}
    text = f"We refunded {amount} for {order.lower()}; allow {word} business days."
    assert score(ticket.prompt, text, row)["parts"]["facts"] == 1.0
    assert score(ticket.prompt, text.replace(order.lower(), "H00001"), row)["parts"]["facts"] < 0.5
    assert score(ticket.prompt, f"Refunded {amount}, and $999.99 more.", row)["parts"]["facts"] < 0.2


def test_dates_count_in_either_order() -> None:
    ticket = a_ticket("late_parcel", "in_time")
    month, day = ticket.slots["limit"].split()
    for written in (f"{month} {day}", f"{day} {month}", f"{day}th of {month}", f"{month[:3]} {day}"):
        verdict = score(ticket.prompt, f"Please wait until {written}.", {"ticket": ticket.record()})
        assert verdict["parts"]["facts"] == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("It will be there tomorrow, guaranteed.", 0.0),
        ("You get a $20 voucher for this.", 0.0),
        ("I promise you it comes.", 0.0),
        ("I cannot promise a date.", 1.0),
        ("We can't guarantee a delivery day.", 1.0),
        ("Please wait a little longer.", 1.0),
    ],
)
def test_forbidden_promises_are_seen_unless_denied(reply: str, kept: float) -> None:
    assert parts_of(reply)["no_forbidden_promise"] == kept


@pytest.mark.parametrize(
    ("reply", "stops"),
    [
        ("Please wait until then.", 1.0),
        ("Please wait until then.\nBest regards,\nHarbor Support", 1.0),
        ("Please wait until", 0.0),
        ("Please wait.\nUser: thanks\nAssistant: welcome.", 0.0),
        ("Please wait.<|im_start|>user", 0.0),
        ("Please wait. " * 12, 0.0),
        ("I am sorry for the wait and " * 20 + ".", 0.0),
    ],
)
def test_a_finished_message_is_told_from_a_run_on(reply: str, stops: float) -> None:
    assert parts_of(reply)["stops"] == stops


def test_rude_curt_and_courteous_replies_are_told_apart() -> None:
    assert parts_of("Sorry about this. Wait until then.")["courteous"] == 1.0
    assert parts_of("Wait until then.")["courteous"] == 0.4
    assert parts_of("You should have read the terms.")["courteous"] == 0.0


def test_an_empty_reply_scores_zero_and_escalates() -> None:
    ticket = draw_ticket(0, "x", 0, False)
    for reply in ("", "   \n\t"):
        verdict = score(ticket.prompt, reply, {"ticket": ticket.record()})
        assert verdict["score"] == 0.0 and verdict["escalates"] is True
        assert set(verdict["parts"]) == set(WEIGHTS)


def test_a_perfect_short_reply_scores_one_and_padding_lowers_it() -> None:
    ticket = a_ticket("lost_parcel", "stock")
    scores = []
    for fillers in range(4):
        reply = write_reply(ticket, True, "all", "courteous", False, fillers, False, random.Random(1))
        verdict = score(ticket.prompt, reply.text, {"ticket": ticket.record()})
        assert verdict["escalates"] is False
        scores.append(verdict["score"])
    assert scores[0] == 1.0 and scores == sorted(scores, reverse=True) and scores[3] <= 0.91


def test_long_nonsense_scores_low() -> None:
    ticket = draw_ticket(0, "x", 0, False)
    verdict = score(ticket.prompt, "banana " * 300, {"ticket": ticket.record()})
    assert verdict["score"] <= 0.05 and verdict["escalates"]


TICKETS = [draw_ticket(4, "any", index, index % 2 == 0) for index in range(60)]
PIECES = st.sampled_from(
    [
        "refund",
        "please wait until",
        "not ",
        "$5.00 ",
        "March 3 ",
        "H12345 ",
        "\n",
        "user: ",
        ". ",
        "\u2019",
        "\U0001f600",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    reply=st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=60).map("".join)),
    ticket=st.sampled_from(TICKETS),
)
def test_any_text_gets_a_score_between_zero_and_one_and_always_the_same(reply: str, ticket: Ticket) -> None:
    row = {"ticket": ticket.record()}
    verdict = score(ticket.prompt, reply, row)
    assert 0.0 <= verdict["score"] <= 1.0
    assert all(0.0 <= value <= 1.0 for value in verdict["parts"].values())
    assert isinstance(verdict["escalates"], bool)
    assert score(ticket.prompt, reply, row) == verdict


@pytest.mark.parametrize(
    "piece", ["a", " ", "refund ", "please ", "not a refund, ", "$1", "\u00e9\U0001f600", "(", "x.\n"]
)
def test_a_hundred_thousand_characters_take_no_time(piece: str) -> None:
    ticket = TICKETS[0]
    text = piece * (100_000 // len(piece))
    start = time.process_time()
    score(ticket.prompt, text, {"ticket": ticket.record()})
    assert time.process_time() - start < 0.5


def test_held_out_text_uses_reserved_phrasings_and_training_text_never_does() -> None:
    rng = random.Random(0)
    assert {pick("ab", "cd", rng, held_out=False) for _ in range(100)} == {"a", "b"}
    assert {pick("ab", "cd", rng, held_out=True) for _ in range(100)} == {"a", "b", "c", "d"}


def test_templates_leave_out_facts_and_mend_articles() -> None:
    rng = random.Random(0)
    slots = {"item": "oak lamp", "order": "H1"}
    assert render("i sent a {item}[order: for {order}].", slots, rng, ()) == "I sent an oak lamp."
    assert render("<Sent|Sent>[order: for {order}] .", slots, rng, ("order",)) == "Sent for H1."
