"""The billing intents about plans and prices: policies, cases, and what customers and agents say in them."""

from __future__ import annotations

from .intents import Action, Case, Intent

PLAN_CHANGE = Intent(
    name="plan_change",
    category="billing",
    account=True,
    policy=(
        "Upgrades start today at the new price. Downgrades start at the next renewal.",
        "A dearer plan starts at once. A cheaper plan starts on the renewal date, not before.",
    ),
    cases=(
        Case("upgrade", "switch_now", ("On {plan} at {amount}, renews {limit}. {plan2} costs {amount2}.",)),
        Case(
            "downgrade", "switch_later", ("On {plan} at {amount}, renews {limit}. {plan2} costs {amount2}.",)
        ),
    ),
    actions=(
        Action(
            "switch_now",
            ("plan2", "amount2"),
            (
                "<I have|I've> switched you[plan2: to {plan2}] and it is active <right away|from today>."
                "[amount2: The new price is {amount2} a month.]",
                "Your upgrade[plan2: to {plan2}] is done and works immediately[amount2:, at {amount2} a "
                "month].",
                "Done, you are on the new plan[plan2:, {plan2},] as of today.[amount2: It costs {amount2} "
                "a month.]",
            ),
            ("The change[plan2: to {plan2}] took effect just now[amount2: and you pay {amount2} a month].",),
            ("You can use the extra features at once.", "Your saved lists and addresses stay as they are."),
        ),
        Action(
            "switch_later",
            ("plan2", "limit"),
            (
                "<I have|I've> booked the change[plan2: to {plan2}]. It starts with your next renewal"
                "[limit: on {limit}], and you keep the current plan until then.",
                "Your plan changes[plan2: to {plan2}] at the next renewal[limit:, on {limit}]. Until then "
                "nothing "
                "changes.",
                "The cheaper plan[plan2: ({plan2})] is set for your renewal date[limit:, {limit}].",
            ),
            (
                "You stay on {plan} for the rest of this period, and the move[plan2: to {plan2}] follows "
                "when it "
                "renews[limit: on {limit}].",
            ),
            ("The current period is already paid.", "A cheaper plan can only begin with a new period."),
            "future",
        ),
    ),
    openers=(
        "I'd like to <move|switch> from {plan} to {plan2}. <How does that work?|Can you do that for me?>",
        "Please change my membership to {plan2}.",
        "Can I have {plan2} instead of {plan}, <starting now|from today>?",
        "We don't fit the {plan} plan any more and want {plan2}. When would it start?",
        "{plan2} suits me better than {plan}. <What do I have to do?|Please switch me.>",
        "change my plan to {plan2} pls",
    ),
    reserved_openers=(
        "How soon can I be on {plan2}? I'm on {plan} today.",
        "Thinking it over, {plan2} is the right plan for us. Could you set that up?",
    ),
)

PROMO_CODE = Intent(
    name="promo_code",
    category="billing",
    policy=(
        "We still honor an expired code until its grace date. After that, or on clearance items, no "
        "discount.",
        "Expired codes count until the grace date, never on clearance items. Otherwise decline.",
    ),
    cases=(
        Case("grace", "apply_promo", ("Code {code} (worth {amount2}) expired {past}, grace until {limit}.",)),
        Case(
            "too_late",
            "decline_promo",
            ("Code {code} (worth {amount2}) expired {past}, grace until {limit}.",),
            "past",
        ),
        Case(
            "clearance",
            "decline_promo",
            ("Clearance item. Code {code} (worth {amount2}), grace until {limit}.",),
        ),
    ),
    actions=(
        Action(
            "apply_promo",
            ("order", "code", "amount2"),
            (
                "<I have|I've> applied <the code|your code>[code: {code}] to your order[order: {order}] "
                "by hand"
                "[amount2: and taken {amount2} off the total].",
                "The discount[code: from {code}] now counts for your purchase[order: ({order})]"
                "[amount2:, which makes it {amount2} cheaper].",
                "We can still honor the code[code: {code}].[amount2: That is {amount2} less to pay.]"
                "[order: Order {order} is updated.]",
            ),
            (
                "The code[code: {code}] is accepted after all[order: for {order}][amount2:, and {amount2} "
                "has been "
                "taken off the price].",
            ),
            ("We allow a few extra days after a code ends.", "You are still inside the grace period."),
        ),
        Action(
            "decline_promo",
            ("order", "code"),
            (
                "I am not able to apply the code[code: {code}] to <this order|your order>[order:, "
                "{order},] because "
                "it is no longer valid for it.",
                "Unfortunately the code[code: {code}] can't be used[order: for order {order}] any more.",
                "The code[code: {code}] does not count for this purchase[order: ({order})], so the price "
                "stays as it "
                "is.",
            ),
            (
                "We cannot take the code[code: {code}] on this one[order: ({order})]; its terms do not "
                "allow it.",
            ),
            (
                "The terms of the code name the last day and the items it covers.",
                "The end date stands in the email.",
            ),
        ),
    ),
    openers=(
        "My code {code} does not work at checkout. <Can you apply it?|What now?>",
        "I forgot to enter {code} when I ordered the {item}. Can I still get the discount?",
        "The site says {code} is not valid, but I got it in your email. It should be {amount2} off.",
        "Why won't you take {code} for my {item}? It worked for my friend.",
        "I was charged the full {amount} even though I used {code}.",
        "code {code} not working",
    ),
    reserved_openers=(
        "I was counting on the {amount2} off from {code}. Is there any way to use it on {order}?",
        "Your newsletter gave me {code}, and the checkout refuses it.",
    ),
)

RENEWAL_REFUND = Intent(
    name="renewal_refund",
    category="billing",
    account=True,
    policy=(
        "A renewal is refunded ({days} business days) until the date shown if the plan is unused. "
        "Otherwise it "
        "ends without refund.",
        "Refund a renewal only until the date shown and only if unused, {days} business days. Else no "
        "refund.",
    ),
    cases=(
        Case("unused", "refund", ("Renewed {past} for {amount}, unused. Refundable until {limit}.",)),
        Case(
            "used",
            "decline_refund",
            ("Renewed {past} for {amount}, used 3 times. Refundable until {limit}.",),
        ),
        Case(
            "late",
            "decline_refund",
            ("Renewed {past} for {amount}, unused. Refundable until {limit}.",),
            "past",
        ),
    ),
    actions=(
        Action(
            "refund",
            ("order", "amount", "days"),
            (
                "<I have|I've> cancelled the renewal[order: on account {order}] and refunded <the fee|the "
                "payment>"
                "[amount: of {amount}].[days: It takes up to {days} business days to arrive.]",
                "Your membership[order: ({order})] is cancelled and the refund[amount: of {amount}] is on "
                "its way"
                "[days: and should arrive within {days} business days].",
                "The renewal[order: of {order}] is undone. You get your money back[amount:, {amount},]"
                "[days: within {days} business days].",
            ),
            (
                "I stopped the plan[order: on {order}] and the fee[amount: of {amount}] goes back to your "
                "card"
                "[days: within {days} business days].",
            ),
            ("You had not used it since {past}.", "You wrote in time for that."),
        ),
        Action(
            "decline_refund",
            ("order", "amount"),
            (
                "I can't refund the renewal[amount: of {amount}], but I have switched off auto-renewal"
                "[order: on account {order}] so that you won't be charged again.",
                "The fee[amount: of {amount}] is not refundable any more. Your membership[order: "
                "({order})] stays "
                "active and ends without another charge.",
                "Unfortunately a refund[amount: of {amount}] is no longer possible. I made sure that the plan"
                "[order: on {order}] does not renew again.",
            ),
            (
                "We are unable to return the renewal fee[amount: ({amount})]. The membership[order: on "
                "{order}] runs "
                "to its end and then stops.",
            ),
            ("You can keep using all of it until it ends.", "The plan was renewed on {past}."),
        ),
    ),
    openers=(
        "My membership renewed[past: on {past}] and I did not want it. <Please refund me.|I want my money "
        "back.>",
        "You charged me {amount} for another period. I meant to cancel.",
        "I forgot to cancel and now {amount} is gone. Can I get it back?",
        "Please cancel my plan and return the {amount}.",
        "I never agreed to a renewal. Why was I charged[amount: {amount}]?",
        "cancel and refund {order} please",
    ),
    reserved_openers=(
        "I thought my plan would simply run out. Instead {amount} left my account. Can that be undone?",
        "No longer need the membership that renewed on {past}. What about the fee?",
    ),
)

PRICE_MATCH = Intent(
    name="price_match",
    category="billing",
    policy=(
        "We refund the difference ({days} business days) if the price drops before the match date. Later: "
        "no.",
        "Price drop up to the match date: pay back the difference, {days} business days. After it: decline.",
    ),
    cases=(
        Case("in_time", "match_price", ("Price now {amount2} lower. Match date {limit}.",)),
        Case("late", "decline_match", ("Price now {amount2} lower. Match date was {limit}.",), "past"),
    ),
    actions=(
        Action(
            "match_price",
            ("order", "amount2", "days"),
            (
                "<I have|I've> refunded the difference[amount2: of {amount2}][order: on order {order}]."
                "[days: You should see it within {days} business days.]",
                "We match the new price[order: for order {order}][amount2:, so {amount2} is on its way "
                "back to you]."
                "[days: Please allow {days} business days.]",
                "You get the lower price: the difference[amount2: of {amount2}][order: for {order}] goes "
                "back to your "
                "card[days: within {days} business days].",
            ),
            (
                "The new price counts for you as well. I sent the difference[amount2: ({amount2})][order: "
                "for {order}] "
                "to your card[days:, {days} business days at most].",
            ),
            (
                "You are still inside the price match period.",
                "The {item} became cheaper after you ordered it.",
            ),
        ),
        Action(
            "decline_match",
            ("order", "limit"),
            (
                "I can't match the new price[order: for order {order}], since the price match period ended"
                "[limit: on {limit}].",
                "The period for a price match[order: on {order}] is over[limit: since {limit}], so the "
                "price you "
                "paid stands.",
                "Unfortunately we can no longer pay back the difference[order: on order {order}]."
                "[limit: The last day for that was {limit}.]",
            ),
            (
                "A price match[order: for {order}] was possible for a short time only"
                "[limit: (until {limit})], so nothing can be paid back now.",
            ),
            ("Prices in the shop move with the season.", "The match date is printed on the receipt."),
            "past",
        ),
    ),
    openers=(
        "The {item} I bought is {amount2} cheaper now. <Can I get the difference?|That is not fair.>",
        "I just saw that you lowered the price of the {item}. I paid {amount}.",
        "Do you match your own prices? Order {order} is {amount2} less today.",
        "I paid {amount} for the {item} and now it is on sale. Please refund the difference.",
        "Had I waited a few days I would have saved {amount2} on the {item}. Can you do something?",
        "price dropped by {amount2} after i ordered. refund?",
    ),
    reserved_openers=(
        "Your shop now asks {amount2} less for the {item}. Does that count for my order too?",
        "How do I claim the price drop on {order}?",
    ),
)

PRICES = (PLAN_CHANGE, PROMO_CODE, RENEWAL_REFUND, PRICE_MATCH)
