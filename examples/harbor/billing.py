"""The billing intents about payments: policies, cases, and what customers and agents say in them."""

from __future__ import annotations

from .intents import Action, Case, Intent

DOUBLE_CHARGE = Intent(
    name="double_charge",
    category="billing",
    policy=(
        "A settled duplicate is refunded within {days} business days. "
        "A pending one is a bank hold: no refund, it drops off by itself.",
        "Settled duplicate charge: refund it, {days} business days. "
        "Pending duplicate: bank hold, the customer waits, no refund.",
    ),
    cases=(
        Case(
            "settled", "refund", ("Charged twice on {past}, both settled.", "Two settled charges on {past}.")
        ),
        Case(
            "pending",
            "wait",
            (
                "Two charges on {past}: one settled, one pending until {limit}.",
                "Second charge of {past} still pending, expires {limit}.",
            ),
        ),
    ),
    actions=(
        Action(
            "refund",
            ("order", "amount", "days"),
            (
                "<I have|I've> refunded the second charge[amount: of {amount}][order: on order {order}]."
                "[days: The money <will be|should be> back on your card within {days} business days.]",
                "The extra payment[amount: of {amount}][order: for order {order}] is <being refunded|on "
                "its way "
                "back to your card>[days:, which takes up to {days} business days].",
                "You are right, the charge went through twice[order: on order {order}], so I refunded one of "
                "them[amount: ({amount})].[days: Your bank needs up to {days} business days to show it.]",
            ),
            (
                "The duplicate[amount: of {amount}][order: on order {order}] has been sent back to your card"
                "[days: and lands there within {days} business days].",
                "I reversed the second payment[order: on {order}] and issued a refund[amount: of {amount}]."
                "[days: It takes {days} business days at most.]",
            ),
            (
                "Both charges settled on {past}, so one of them should not be there.",
                "Our checkout sent the payment twice on {past}.",
            ),
        ),
        Action(
            "wait",
            ("order", "amount", "limit"),
            (
                "The second charge[amount: of {amount}][order: on order {order}] is only a pending hold, so "
                "there is nothing to refund.[limit: It drops off by itself by {limit}.]",
                "Only one payment[order: for order {order}] was taken. The other[amount: {amount}] is a "
                "temporary hold by your bank and <disappears|falls away> by itself[limit: by {limit}].",
                "What you see[order: on order {order}] is a bank hold, not a second payment."
                "[amount: The {amount} was never collected.][limit: The hold is released by {limit}.]",
            ),
            (
                "One of the two entries[order: for {order}] is a pending authorization[amount: of {amount}]. "
                "Please give it a little time to expire[limit: (it ends by {limit})]; no money will be "
                "taken.",
            ),
            (
                "Banks reserve the sum first and collect it later, which can look like two payments.",
                "The first charge settled on {past} and the second one was not collected.",
            ),
            "future",
        ),
    ),
    openers=(
        "I was charged twice for <the|my> {item}[order:, order {order}]. Can you <fix this|look into it>?",
        "My card shows two payments[amount: of {amount}] for the same order. I only bought one {item}.",
        "Why are there two charges from Harbor on my statement[past: from {past}]? I ordered once.",
        "You took the money for order {order} twice.[amount: {amount} each time.] I want one of them back.",
        "<There is|I see> a duplicate charge[amount: of {amount}] on my card for the {item}.",
        "I see {amount} on my bank account two times. Is that a mistake?",
    ),
    reserved_openers=(
        "My banking app lists Harbor twice[past: on {past}], same sum both times. What happened?",
        "It looks like order {order} was billed two times.",
    ),
)

REFUND_STATUS = Intent(
    name="refund_status",
    category="billing",
    policy=(
        "Before the bank deadline the customer waits. After it we send the refund again, {days} business "
        "days.",
        "Until the bank deadline: ask the customer to wait. Once it has passed: resend the refund, "
        "{days} business days.",
    ),
    cases=(
        Case("with_bank", "wait_bank", ("Refund of {amount} sent {past}, bank deadline {limit}.",)),
        Case("overdue", "reissue", ("Refund of {amount} sent {past}, bank deadline was {limit}.",), "past"),
    ),
    actions=(
        Action(
            "wait_bank",
            ("order", "amount", "limit"),
            (
                "The refund[amount: of {amount}][order: for order {order}] left us and is still with your "
                "bank. "
                "Please allow <some time|a little time>[limit:, until {limit} at the latest,] for it to "
                "appear.",
                "We sent your refund[amount: of {amount}][order: for {order}] and your bank is processing it."
                "[limit: It has until {limit}, so please wait for that date.]",
                "Your money[amount: ({amount})][order: for order {order}] is on its way and still within the "
                "bank's normal time.[limit: Please give it until {limit}.]",
            ),
            (
                "Nothing has gone wrong: the refund[amount: of {amount}][order: on {order}] is in the "
                "bank's hands"
                "[limit: and they have until {limit} to book it]. Please hold on a little longer.",
            ),
            ("We sent it on {past}.", "Our side of it was done on {past}."),
            "future",
        ),
        Action(
            "reissue",
            ("order", "amount", "days"),
            (
                "Your bank did not book the refund[amount: of {amount}][order: for order {order}] in "
                "time, so I "
                "have sent it again.[days: Expect it within {days} business days.]",
                "<I have|I've> resent the refund[amount: of {amount}][order: for {order}] today"
                "[days:, and it arrives within {days} business days].",
                "The bank's deadline has passed, so a new refund[amount: of {amount}][order: for order "
                "{order}] is "
                "on its way.[days: It needs up to {days} business days.]",
            ),
            (
                "I reissued the refund[amount: of {amount}][order: on order {order}] a moment ago"
                "[days: and it should show within {days} business days].",
            ),
            ("The first transfer of {past} never reached your account.", "The bank had time until {limit}."),
            "past",
        ),
    ),
    openers=(
        "Where is my refund for order {order}? <It still has not shown up.|I can't see it anywhere.>",
        "You said my refund[amount: of {amount}] was sent[past: on {past}]. Nothing on my account so far.",
        "I returned the {item} and I am still waiting for the money[amount: ({amount})].",
        "Any news on the refund for the {item}? My bank says they see nothing.",
        "How long does a refund take? <Mine|The one for order {order}> was <promised|confirmed> ages ago.",
        "still no {amount} on my card. when does the refund come?",
    ),
    reserved_openers=(
        "Could you check what became of the money for my returned {item}?",
        "I was told on {past} that {amount} would come back to me. Has it?",
    ),
)

INVOICE_COPY = Intent(
    name="invoice_copy",
    category="billing",
    policy=(
        "Invoices go as PDF to the email on file. A company invoice needs the VAT number first.",
        "Email the PDF invoice right away, except for company accounts without a VAT number: ask for it "
        "first.",
    ),
    cases=(
        Case("personal", "send_invoice", ("Personal account.", "Private customer, email on file.")),
        Case("company_vat", "send_invoice", ("Company account, VAT number on file.",)),
        Case(
            "company_no_vat",
            "ask_vat",
            ("Company account, VAT number missing.", "Company account, no VAT number."),
        ),
    ),
    actions=(
        Action(
            "send_invoice",
            ("order", "amount"),
            (
                "<I have|I've> emailed the invoice[order: for order {order}][amount: ({amount})] as a PDF "
                "to the "
                "address on your account.",
                "The invoice[order: for {order}][amount: over {amount}] is <in your inbox now|on its way "
                "to your "
                "inbox>, as a PDF.",
                "A PDF copy of the invoice[order: for order {order}][amount: ({amount})] was just sent to "
                "the email "
                "address we have on file.",
            ),
            (
                "You will find the invoice[order: for {order}][amount: with the total of {amount}] "
                "attached to the "
                "email I just sent.",
            ),
            ("It shows the tax as a separate line.", "It carries the date of the purchase."),
        ),
        Action(
            "ask_vat",
            ("order", "amount"),
            (
                "Before I can issue the company invoice[order: for order {order}][amount: ({amount})], I "
                "need your "
                "VAT number. Could you send it to me?",
                "Your VAT number is missing on the account. <Could you send it to me?|Please reply with it.> "
                "Then I can make out the invoice[order: for {order}][amount: over {amount}].",
                "What is the VAT number of your company? I need it for the invoice[order: for order {order}]"
                "[amount: ({amount})].",
            ),
            (
                "To make out the invoice[order: for {order}][amount: over {amount}] to your company, we "
                "first need "
                "its VAT number from you.",
            ),
            (
                "A company invoice is not valid without it.",
                "The tax office asks for it on every company invoice.",
            ),
        ),
    ),
    openers=(
        "I need <an invoice|a copy of the invoice> for order {order}<.| for my bookkeeping.>",
        "Could you send me the invoice for the {item}[amount: ({amount})]? <I can't find it.|It never came.>",
        "My accountant is asking for the bill for order {order}. Where do I get it?",
        "There was no invoice in the box with the {item}. Please send one.",
        "Can I get a proper invoice[amount: over {amount}]? The confirmation email is not enough for us.",
        "invoice for {order} please",
    ),
    reserved_openers=(
        "I am doing my taxes and the paperwork for the {item} is missing. Can you mail it to me?",
        "Our finance team wants a receipt with tax shown for {order}.",
    ),
)

FAILED_PAYMENT = Intent(
    name="failed_payment",
    category="billing",
    policy=(
        "Expired card: the customer adds a new card by the date shown. Bank timeout: we retry on that date, "
        "nothing to do.",
        "If the card expired, ask for a new card by the date shown. If the bank timed out, we retry that day "
        "and the customer does nothing.",
    ),
    cases=(
        Case("expired", "update_card", ("Payment failed: card expired. Order held until {limit}.",)),
        Case(
            "timeout",
            "retry",
            ("Payment failed: bank timeout. Date: {limit}.", "Bank timed out, retry {limit}."),
        ),
    ),
    actions=(
        Action(
            "update_card",
            ("order", "amount", "limit"),
            (
                "The card on your account has expired. Please add a new card[limit: by {limit}] and the "
                "payment"
                "[amount: of {amount}][order: for order {order}] will go through.",
                "Your card is past its expiry date, so the payment[amount: of {amount}] failed. <Could "
                "you|Please> "
                "enter a new card under Account[limit: by {limit}]; we hold the order[order: {order}] for "
                "you.",
                "To keep the order[order: {order}], <update|please update> your card details[limit: "
                "before {limit}]. "
                "The old card expired, which is why the payment[amount: of {amount}] was refused.",
            ),
            (
                "Once you save a valid card in your account[limit:, by {limit} at the latest,] we can "
                "collect "
                "<the payment|what is due>[amount: ({amount})][order: for {order}]. The one we have expired.",
            ),
            ("You find it under Account, Payment.", "Nothing was taken from the old card."),
            "future",
        ),
        Action(
            "retry",
            ("order", "amount", "limit"),
            (
                "Your bank timed out, so nothing was charged. We will <retry|try> the payment[amount: of "
                "{amount}]"
                "[order: for order {order}] <again|once more>[limit: on {limit}] and you don't need to do "
                "anything.",
                "The payment[amount: of {amount}][order: for {order}] failed because of a bank timeout. "
                "We retry it "
                "automatically[limit: on {limit}].",
                "There is nothing you need to change: the bank did not answer in time and our system "
                "retries the "
                "charge[amount: of {amount}][order: for order {order}][limit: on {limit}].",
            ),
            (
                "It was a short outage at your bank. A second attempt[amount: for {amount}][order: on "
                "{order}] "
                "runs automatically[limit: on {limit}].",
            ),
            ("Your card itself is fine.", "Your order stays reserved until then."),
            "future",
        ),
    ),
    openers=(
        "My payment for the {item} <failed|was declined>. What do I do now?",
        "I got an email that the payment for order {order} did not go through.[amount: It was {amount}.]",
        "Payment failed again?? I have enough money on the account.",
        "Why was my card refused[amount: for {amount}]? I want to keep my order.",
        "Your site says payment failed for {order}. Is my order cancelled now?",
        "the {item} order says payment error. do i need to pay again",
    ),
    reserved_openers=(
        "Something went wrong when I paid for the {item}. Is the order still alive?",
        "Checkout told me my card could not be charged. How do we get {order} paid?",
    ),
)

BILLING = (DOUBLE_CHARGE, REFUND_STATUS, INVOICE_COPY, FAILED_PAYMENT)
