"""Patterns of the rubric judge: what an action, a promise, padding and courtesy look like in free text.

Every gap is bounded (`.{0,40}`), so that matching stays linear in the length of a reply.
"""

from __future__ import annotations

import re


def _compile(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{a})" for a in alternatives))


NEGATION = _compile(
    r"\b(?:not|no|never|cannot|unable|without|nothing|neither|nor|isn't|decline\w*)\b",
    r"n't\b",
    r"\b(?:instead of|rather than|too late for)\b",
)
NEGATED_AFTER = _compile(
    r"^.{0,40}\b(?:not|no longer|n't)\b.{0,12}\b(?:possible|available|refundable|allowed|offered)"
)
CLAUSE_BREAK = _compile(r"[,:()]", r"\b(?:but|so|and|because|since|as)\b")
CONDITION = re.compile(r"\b(?:if|unless|in case|should you)\b")
OFFER = _compile(r"\b(?:would|do) you (?:like|want|prefer)", r"\bwould (?:a|an) .{0,30}\bwork\b")
GENERALITY = _compile(r"\balways (?:refund|reship|replace)", r"\bin (?:such cases|cases like this)")

_MONEY_BACK = (
    r"\brefund(?:ed|ing|s)?\b",
    r"\bmoney back\b",
    r"\breimburs\w*",
    r"\b(?:pay|paid|paying|sen[dt]|sending|goes|go|going|comes?|coming|lands?|return(?:ed)?)\b"
    r".{0,60}\bback to your (?:card|account)",
    r"\b(?:sent|paid|pay|put|way) back\b",
    r"\breturned to your (?:card|account)",
    r"\breversed? the\b",
)
_WAIT = (
    r"\bplease (?:wait|hold on|bear with|be patient|have patience)",
    r"\bplease (?:ask (?:your|around)|check with|look around)",
    r"\b(?:please|kindly) (?:give|allow)\b(?! ?(?:up to |us )?(?:\d+|two|three|four|five|six|seven|eight) )",
    r"\bwait (?:until|for|till|a|some|another)\b",
    r"\bgive (?:it|them) (?:until|till|some|a|more|time)\b",
    r"\bgiv(?:e|ing) (?:it|them|the) .{0,30}(?:time|longer|until)",
    r"\b(?:allow|and give it) until\b",
    r"\bhold on a\b|\bbear with us while\b",
    r"\bpending (?:hold|authori[sz]ation)|\b(?:bank|temporary|authorization) hold\b",
    r"\b(?:drops? off|falls? away|disappears?|expires?) (?:by itself|on its own|automatically)",
    r"\bnothing to refund\b",
    r"\bstill (?:with your bank|on (?:its|the) way|moving|in transit)\b",
    r"\bstill (?:within|being processed|searching|running)\b",
    r"\bask (?:your neighbo|around next)|\bcheck with (?:your )?neighbo|\bneighbo\w+ first\b",
)
_UNABLE = r"(?:\bnot able|\bunable|\bcannot|\bcan no longer|can't|won't)\b"
_SEND_VERB = (
    r"\b(?:sen[dt]|sending|ship|shipped|shipping|order(?:ed)?|book(?:ed)?|dispatch(?:ed)?|mail(?:ed)?)\b"
)

# Matched without looking at negation: the words themselves say yes or no.
PLAIN_ACTIONS: dict[str, re.Pattern[str]] = {
    "wait": _compile(*_WAIT),
    "wait_bank": _compile(
        *_WAIT,
        r"\bbank is processing\b|\bbank's hands\b|\bbank(?:'s)? normal\b",
        r"\b(?:it|they|bank) (?:has|have) until\b",
    ),
    "ask_vat": _compile(
        r"\b(?:need|missing|please|could you|can you|what is|send|reply|provide|from you)\b.{0,100}\bvat\b",
        r"\bvat\b.{0,60}\b(?:missing|from you|please|needed|required|first)\b",
    ),
    "update_card": _compile(
        r"\b(?:add|updat\w+|enter|sav\w+|use|provide|replac\w+|register)\b"
        r".{0,40}\b(?:card|payment (?:method|details))\b"
    ),
    "switch_later": _compile(
        r"\b(?:next|upcoming|your) renewal\b",
        r"\brenewal date\b",
        r"\bwhen it renews\b",
        r"\brenews? on\b",
        r"\buntil then\b",
        r"\bend of (?:the|this|your) (?:current )?(?:billing )?(?:period|cycle|term|month)",
        r"\bnext (?:billing )?(?:cycle|period|month)\b",
        r"\brest of this period\b",
    ),
    "decline_promo": _compile(
        _UNABLE + r".{0,40}\b(?:appl\w+|use[d]?|honou?r|tak\w+|accept\w*)\b",
        r"\b(?:no longer|not) (?:be )?(?:valid|accepted|applicable)",
        r"\bnot (?:count|allow|apply|work|cover)\b",
        r"\bcode\b.{0,30}\b(?:has|is) expired\b",
    ),
    "decline_refund": _compile(
        _UNABLE + r".{0,40}\b(?:refund|return the|reimburse|give)",
        r"\bnot\b.{0,40}\b(?:refund|return the|reimburse)",
        r"\bnot refundable\b|\bnon-?refundable\b|\bno refund\b|\bwithout (?:a )?refund\b",
        r"\brefund\b.{0,40}\b(?:no longer|not|n't) (?:be )?(?:possible|available|allowed|issued)",
        r"\brefund (?:window|period)\b.{0,30}\b(?:closed|passed|over|ended|expired)",
    ),
    "decline_match": _compile(
        _UNABLE + r".{0,30}\b(?:match|pay back|refund|adjust)",
        r"\bnothing can be paid back\b",
        r"\b(?:period|match|window)\b.{0,70}\b(?:is over|ended|has passed|expired|closed|only|too late)\b",
        r"\blast day for that was\b",
    ),
    "redirect": _compile(
        r"\bredirect",
        r"\bcarrier'?s? app\b|\btheir app\b",
        r"(?:\bnot able|\bunable|\bcannot|can't|too late)\b.{0,30}\b(?:chang\w+|updat\w+|address)",
    ),
    "pay_duty": _compile(
        r"\b(?:has|have|need|needs) to be paid\b",
        r"\b(?:yours|you) to pay\b",
        r"\bplease pay\b",
        r"\byou (?:will |would |do )?(?:must|need to|have to|should) (?:pay|cover)",
        r"\b(?:buyer|customer|recipient)'s (?:part|responsib\w+)|\byour responsibility\b",
        r"\bnot (?:included|part of the price)|\bwithout duties\b",
        r"\bonce you have paid\b",
    ),
    "decline_return": _compile(
        _UNABLE + r".{0,40}\b(?:return|accept|take)\b",
        r"\breturns?\b.{0,60}\b(?:no longer|not) (?:be )?(?:possible|accepted|allowed|available)",
        r"\bfinal sale\b.{0,60}\b(?:not|no|cannot)\b",
        r"\breturn (?:window|period)\b.{0,30}\b(?:closed|passed|over|ended|expired)",
    ),
    "ask_photo": _compile(
        r"\b(?:could you|can you|please|need|send (?:me|us)|attach|provide|reply)\b"
        r".{0,60}\b(?:photo|picture|image)s?\b",
        r"\b(?:photo|picture|image)s?\b.{0,60}\b(?:needed|required|all i (?:still )?need|please)\b",
    ),
}

# Commitments: they count only where the clause does not deny them.
COMMITMENTS: dict[str, re.Pattern[str]] = {
    "refund": _compile(*_MONEY_BACK),
    "reimburse": _compile(*_MONEY_BACK, r"\bpay back\b", r"\bcomes back to\b"),
    "match_price": _compile(
        *_MONEY_BACK,
        r"\bmatch(?:es|ed)? the (?:new|lower|sale|current) price",
        r"\b(?:sent|paid|returned|sending|pay|give) (?:you )?the difference\b|\bnew price counts\b",
        r"\bdifference\b.{0,50}\b(?:on its way|back)\b",
    ),
    "reissue": _compile(
        r"\bre-?(?:sen[dt]|sending)\b|\bre-?issu\w+|\b(?:new|second) (?:refund|transfer)\b",
        r"\b(?:sent|send|sending|issued?|issuing)\b.{0,60}\b(?:again|once more|a second time)\b",
    ),
    "reship": _compile(
        r"\breplacement\b",
        r"\bre-?ship\w*",
        _SEND_VERB + r".{0,25}\b(?:another|new|fresh|second|right|correct)\b",
        _SEND_VERB + r".{0,40}\bagain\b",
        r"\b(?:a new|another)\b.{0,40}\b(?:on (?:its|the) way|being sent|ships|leaves)\b",
        r"\b(?:fresh|new|second) (?:shipment|parcel)\b|\bnew one\b",
    ),
    "trace": _compile(r"\btrac(?:e|ing)\b|\binvestigat\w+|\binquiry\b|\bclaim with\b"),
    "send_invoice": _compile(
        r"\binvoice\b.{0,120}\b(?:sent|emailed|attached|in your inbox|inbox now|on its way)\b",
        r"\b(?:sent|emailed|attached|sending|email you|send you|here is|resent)\b.{0,60}\binvoice\b",
    ),
    "retry": _compile(
        r"(?<!please )(?<!can )\bretr(?:y|ies|ied|ying)\b",
        r"\bwill try\b.{0,60}\b(?:again|once more)\b",
        r"\b(?:second|another|new) attempt\b",
    ),
    "switch_now": _compile(
        r"\b(?:immediately|right away|at once|instantly|just now)\b",
        r"\b(?:as of (?:today|now)|from today|effective (?:today|now))\b",
        r"\bis (?:now )?active (?:now|today|right)",
        r"\b(?:starts?|start(?:ing|ed)|switched) (?:today|now)\b",
    ),
    "apply_promo": _compile(
        r"\b(?:appl(?:y|ied|ying)|honou?r(?:ed)?|accepted|now counts)\b",
        r"\b(?:taken|took|take)\b.{0,20}\boff\b",
        r"\b(?:deduct|credit)ed\b",
    ),
    "change_address": _compile(
        r"\b(?:changed?|changing|updated?|saved|corrected)\b.{0,40}\baddress\b",
        r"\baddress\b.{0,60}\b(?:is|has been|was) (?:now )?(?:saved|updated|changed|corrected)",
        r"\bnow goes to\b",
    ),
    "return_label": _compile(
        r"\blabel\b", r"\byou (?:can|may) return\b", r"\b(?:please )?send (?:it|the \w+(?: \w+){0,3}) back\b"
    ),
    "send_part": _compile(
        r"\bpart\b.{0,80}\b(?:on its way|leaves|sent|posted|ships|shipped)\b",
        r"\b(?:sent|posted|sending|send|ship\w*)\b.{0,40}\bpart\b",
        r"\bpart\b.{0,40}\bmissing\b.{0,60}\b(?:arrive|deliver)",
    ),
}

# Asserting one of these as well makes a right action doubtful: half credit.
CONFLICTS: dict[str, tuple[str, ...]] = {
    "refund": ("reship", "decline_refund"),
    "wait": ("refund", "reship", "trace", "reissue"),
    "wait_bank": ("reissue",),  # here the word refund is about one that was sent already
    "reissue": (),
    "reship": ("refund", "send_part"),
    "send_part": ("reship", "refund"),
    "trace": ("refund", "reship"),
    "send_invoice": ("ask_vat",),
    "ask_vat": ("send_invoice",),
    "update_card": ("retry",),
    "retry": ("update_card",),
    "switch_now": ("switch_later",),
    "switch_later": ("switch_now",),
    "apply_promo": ("decline_promo",),
    "decline_promo": ("apply_promo",),
    "decline_refund": ("refund",),
    "match_price": ("decline_match",),
    "decline_match": ("match_price",),
    "change_address": ("redirect",),
    "redirect": ("change_address",),
    "reimburse": ("pay_duty",),
    "pay_duty": ("reimburse",),
    "return_label": ("decline_return",),
    "decline_return": ("return_label", "refund"),
    "ask_photo": ("refund", "reship"),
}

PROMISE = _compile(
    r"\bguarante\w+",
    r"\b(?:i|we) (?:can )?(?:promise|swear)\b|\bmy word\b|\bword of honou?r\b",
    r"\balways (?:refund|replace|reship|give)|\bno questions asked\b|\bno matter what\b",
    r"\b(?:never|not|won't) happen again\b",
    r"\b(?:by|be|at|there|you|arrive\w*|settled|come|get it|here)\b.{0,25}\btomorrow\b",
    r"\bwithin the (?:hour|day)\b|\b(?:100 ?%|one hundred percent) (?:sure|certain)|\bwithout fail\b",
    r"\b(?:voucher|gift card|store credit|goodwill credit)\b",
    r"\d+ ?(?:%|percent) off (?:your|the) next\b|\boff your next order\b",
    r"\bnext month is free\b|\bfree (?:month|gift|year|membership)\b|\bextra (?:compensation|discount)\b",
)
DENIED_PROMISE = _compile(
    r"(?:\bnot|\bcannot|n't|\bunable to|\bno|\bnever)\b[^,.]{0,30}"
    r"\b(?:guarante\w+|promise|tomorrow|voucher|gift card|store credit)"
)
FILLER = _compile(
    r"\b(?:we|i) (?:truly |really |greatly |deeply )?value (?:you|your)\b|\bvalued customer",
    r"\byour (?:satisfaction|happiness|feedback|experience|trust)\b",
    r"\b(?:completely|fully|totally|truly|certainly) understand (?:how|your|that|the)",
    r"\bunderstand (?:how (?:important|frustrat\w+|you)|your frustration)",
    r"\bdedicated team\b|\bworks? (?:very )?hard (?:every|to)|\bstriv\w+ to\b|\bcommitted to\b",
    r"\btake (?:great )?pride",
    r"\brest assured\b|\bgreatest care\b|\bdo not hesitate\b|\bdon't hesitate\b",
    r"\bmany choices\b|\bgrateful that you chose|\b(?:thank you|thanks) for (?:choosing|being)\b",
    r"\b(?:message|email) finds you\b|\bwonderful day\b|\b(?:always )?our aim\b|\bas smooth as possible\b",
    r"\bhighest priority\b|\btop priority\b|\bbest possible\b",
    r"\bfamily means\b|\bmatters to (?:all of )?us\b|\bcare deeply\b",
    r"\bexceed (?:the |your )?expectations\b|\bexcellent service\b|\bimprove our service",
)
COURTESY = _compile(
    r"\bsorry\b|\bapolog\w+|\bthank(?:s| you)\b|\bhappy to\b|\bglad\b|\bappreciate\b",
    r"\blet me know\b|\bhave a (?:good|nice|great|lovely)\b|\bhere if you need\b",
    r"\bjust reply\b|\bwrite to me any ?time\b",
    r"\b(?:kind|best|warm) regards\b",
)
GREETING = re.compile(r"^\W*(?:hi|hello|hey|dear|good (?:day|morning|afternoon|evening))\b")
POLITE = re.compile(r"\bplease\b|\bcould you\b|\bwould you\b")
RUDE = _compile(
    r"\bnot (?:our|my) (?:fault|problem)\b|\bnot responsible\b|\bblame us\b",
    r"\byou (?:should|could) have\b|\bas you were (?:already )?told\b",
    r"\bas our (?:terms|policy) clearly\b|\bclearly state",
    r"\bwith respect\b|\bfrankly\b|\bnothing to do with us\b",
    r"\bcalm down\b|\bread the (?:terms|policy)\b|\bstupid\b",
)
ROLE_LEAK = re.compile(
    r"(?m)^[ \t]*(?:user|customer|assistant|system|human|agent|support)[ \t]*:|<\|[a-z_]+\|>|\[/?INST\]",
    re.IGNORECASE,
)
ENDING = re.compile(
    r"(?:[.!?)\"'\u201d\u2026]|\b(?:regards|best|sincerely|harbor support(?: team)?),?\s*(?:\w+ ?){0,3})$",
    re.I,
)
SENTENCE_BREAK = re.compile(r"[;\n]+|(?<=[.!?])\s+")
MONEY = re.compile(r"\$ ?(\d{1,6}(?:\.\d\d)?)")
ORDER_ID = re.compile(r"\b[ah]\d{4,6}\b")
MONTH_DAY = re.compile(
    r"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.? (\d{1,2})(?:st|nd|rd|th)?\b"
)
DAY_MONTH = re.compile(
    r"\b(\d{1,2})(?:st|nd|rd|th)? (?:of )?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\b"
)
DAY_COUNT = re.compile(
    r"\b(\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten) (?:business |working |week)?days?\b"
)
NUMBER_WORDS = {
    **{"one": "1", "two": "2", "three": "3", "four": "4", "five": "5"},
    **{"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}
WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
