"""Sentences that any ticket or reply can carry: greetings, moods, padding, promises and tone.

Each pair of tables is (seen in training, reserved for held-out tickets).
"""

from __future__ import annotations

GREETINGS = ("Hi,", "Hello,", "Hi there,", "Good morning,", "Hello Harbor team,", "Hey,")
RESERVED_GREETINGS = ("Good evening,", "Dear Harbor Support,")

THANKS = (
    "Thanks!",
    "Thank you.",
    "Thanks in advance.",
    "Many thanks, {first}",
    "Thanks, {first}",
    "Best, {first}",
)
RESERVED_THANKS = ("Much appreciated.", "Kind regards, {first}")

ANNOYANCE = (
    "This is really annoying.",
    "I am not happy about this.",
    "This is the second time I write to you.",
    "I expect a clear answer today.",
    "Honestly, I'm losing my patience.",
    "I won't order again like this.",
    "Nobody answers your phone either.",
)
RESERVED_ANNOYANCE = (
    "I have better things to do than chase you.",
    "Not what I expect from a shop like yours.",
)

PREAMBLES = (
    "Hope you are having a good week.",
    "I usually never have to write to support.",
    "I have been a customer for years and like your shop a lot.",
    "Sorry to bother you with this.",
    "I wasn't sure where to ask, so I am trying here.",
    "First of all, I love the new website.",
)
RESERVED_PREAMBLES = ("My neighbor told me that you answer quickly.", "It's a small thing, but it bugs me.")

CONTEXT = {
    "billing": (
        "I try to keep an eye on my budget this month.",
        "My husband noticed it first.",
        "I only saw it when I went through my statements.",
        "No rush, but I would like to have it settled.",
    ),
    "shipping": (
        "It was meant as a birthday present for my sister.",
        "We just moved and need it in the new place.",
        "My kids have been asking about it every day.",
        "No rush, but I would like to know where I stand.",
    ),
}
RESERVED_CONTEXT = {
    "billing": ("I do my accounts on Sundays.", "My wife handles the bills and asked me to write."),
    "shipping": (
        "I had planned my weekend around it.",
        "My parents are visiting next week and will need it.",
    ),
}

FIRST_TURNS = {
    "order": (
        ("I have a problem with my order.", "Sorry to hear that. What is wrong with it?"),
        ("Hi, is this the right place for questions about an order?", "Yes, it is. What can I do for you?"),
        ("I need help with order {order}.", "Happy to help. What happened?"),
        ("Hello, can someone help me?", "Of course. What is it about?"),
    ),
    "account": (
        ("I have a question about my membership.", "Sure, what would you like to know?"),
        ("Hi, I need help with my plan.", "Happy to help. What can I do?"),
        ("Hello, can someone help me?", "Of course. What is it about?"),
    ),
}
RESERVED_FIRST_TURNS = {
    "order": (("Is anybody there?", "Yes, Harbor Support here. How can I help?"),),
    "account": (("Is anybody there?", "Yes, Harbor Support here. How can I help?"),),
}

HEADERS = {
    "order": (
        "You are Harbor Support. Today is {today}. Customer {name}, order {order}: {item}, {amount}.",
        "Harbor Support, {today}. Customer: {name}. Order {order}: {item}, {amount}.",
        "You answer for Harbor Support. Date: {today}. {name}, order {order} ({item}, {amount}).",
    ),
    "account": (
        "You are Harbor Support. Today is {today}. Customer {name}, account {order}.",
        "Harbor Support, {today}. Customer: {name}. Account {order}.",
        "You answer for Harbor Support. Date: {today}. {name}, account {order}.",
    ),
}

REPLY_GREETINGS = ("Hi {first},", "Hello {first},", "Hi {first},", "Dear {first},")
RESERVED_REPLY_GREETINGS = ("Good day {first},", "Hey {first},")

SORRY = (
    "I'm sorry about the trouble.",
    "Sorry for the inconvenience.",
    "I am sorry that this happened.",
    "Sorry about this.",
    "I apologize for the trouble.",
    "I'm sorry you had to write to us about this.",
)
RESERVED_SORRY = ("Apologies for the hassle.", "I'm sorry, that should have gone better.")

WELCOME = (
    "Thanks for reaching out.",
    "Thank you for your message.",
    "Thanks for writing to us.",
    "Happy to help with this.",
    "Thanks for getting in touch.",
)
RESERVED_WELCOME = ("Thank you for letting us know.", "Thank you for contacting us.")

CLOSINGS = (
    "Let me know if anything is unclear.",
    "Thanks for your patience.",
    "Just reply here if you have any questions.",
    "Have a good day.",
    "Thank you for your understanding.",
    "Write to me any time if something comes up.",
)
RESERVED_CLOSINGS = ("I'm here if you need anything else.", "Thanks for bearing with us on this.")

FILLER = (
    "We truly value you as a customer and we take every single message seriously.",
    "Please know that your satisfaction is our highest priority at Harbor.",
    "I completely understand how important this is to you and how you must feel.",
    "Our dedicated team works hard every day to give you the best possible experience.",
    "At Harbor we always strive to meet and exceed the expectations of our customers.",
    "Rest assured that we are looking at this with the greatest care.",
    "Please do not hesitate to contact us at any time with any further questions you may have.",
    "We know that you have many choices and we are grateful that you chose Harbor.",
    "Your feedback is very important to us and helps us to improve our service.",
    "I hope that this message finds you well and that you are having a wonderful day.",
    "It is always our aim to make your shopping experience as smooth as possible.",
    "We take great pride in the quality of our products and of our customer service.",
)
RESERVED_FILLER = (
    "We are committed to providing an excellent service to each and every one of our valued customers.",
    "I fully understand your frustration, and I want you to know that we care deeply.",
    "Being part of the Harbor family means that your happiness matters to all of us.",
)

PROMISES = {
    "billing": (
        "You will have this settled tomorrow, guaranteed.",
        "I promise that this will never happen again.",
        "I'll also add a $20 voucher to your account for the trouble.",
        "In cases like this we always refund, no questions asked.",
        "We will also give you a free month.",
    ),
    "shipping": (
        "It will be at your door tomorrow, guaranteed.",
        "I promise that this will never happen again.",
        "I'll also add a $20 voucher to your account for the trouble.",
        "In cases like this we always refund, no questions asked.",
        "You also get 25% off your next order.",
    ),
}
RESERVED_PROMISES = {
    "billing": ("You have my word that it is done within the hour.", "I can offer you a gift card on top."),
    "shipping": (
        "I give you my word that it reaches you by tomorrow.",
        "I can offer you a gift card on top.",
    ),
}

CURT = ("That is all I can do.", "There is nothing else to add.", "Case closed.", "")
RESERVED_CURT = ("Nothing more to say here.", "")

DEFENSIVE = (
    "This is not our fault.",
    "As our terms clearly state, we are not responsible for this.",
    "You should have read the policy before you wrote to us.",
    "As you were already told, we cannot watch every single case.",
    "I don't see why you blame us for this.",
)
RESERVED_DEFENSIVE = (
    "With respect, you could have checked this yourself.",
    "Frankly, this has nothing to do with us.",
)

DEFLECT = {
    "billing": (
        "I have forwarded your message[order: about {order}] to the finance department and someone will "
        "get back to "
        "you.",
        "Please contact your bank about this[order: and mention {order}].",
        "I will look into it[order: ({order})] and come back to you at some point.",
    ),
    "shipping": (
        "I have forwarded your message[order: about {order}] to our warehouse and someone will get back "
        "to you.",
        "Please contact the carrier directly about this[order: and mention {order}].",
        "I will look into it[order: ({order})] and come back to you at some point.",
    ),
}
RESERVED_DEFLECT = {
    "billing": ("Another department has to check this[order: ({order})], so I can't say anything yet.",),
    "shipping": ("Another department has to check this[order: ({order})], so I can't say anything yet.",),
}

# In these intents something went wrong, so an agent can say sorry; in the others that would sound odd.
TROUBLE = frozenset(
    {
        *("double_charge", "refund_status", "failed_payment", "late_parcel", "lost_parcel"),
        *("marked_delivered", "damaged_item", "wrong_item", "missing_part", "customs"),
    }
)
