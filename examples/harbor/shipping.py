"""The shipping intents about parcels on the way: policies, cases, and what is said in them."""

from __future__ import annotations

from .intents import Action, Case, Intent

RESHIP_TEXTS = (
    "<I have|I've> <sent|ordered> a replacement {item}[order: for order {order}] today"
    "[arrive: and it arrives on {arrive}].",
    "A new {item} is on its way to you[order: under order {order}].[arrive: It will arrive on {arrive}.]",
    "We are sending you <another|a new> {item} free of charge[order: for order {order}]"
    "[arrive:, and it should be with you on {arrive}].",
)
RESHIP_RESERVED = (
    "I booked a fresh shipment of the {item}[order: for {order}]. There is no cost for you"
    "[arrive: and it is due on {arrive}].",
)
REFUND_TEXTS = (
    "<I have|I've> refunded[amount: {amount} for] the {item}[order: on order {order}]."
    "[days: The money <will be|should be> on your card within {days} business days.]",
    "You get <all of your|your> money back for the {item}[order: (order {order})]"
    "[amount:: {amount}][days:, within {days} business days].",
    "I issued a full refund[amount: of {amount}][order: for order {order}]."
    "[days: It takes up to {days} business days.]",
)
REFUND_RESERVED = (
    "The price of the {item}[amount: ({amount})][order: on {order}] is being returned to your card"
    "[days:, which can take {days} business days].",
)
NEEDS_RESHIP = ("order", "arrive")
NEEDS_REFUND = ("order", "amount", "days")


def reship(*reasons: str) -> Action:
    """The action that sends the item again."""
    return Action("reship", NEEDS_RESHIP, RESHIP_TEXTS, RESHIP_RESERVED, reasons)


def refund(*reasons: str) -> Action:
    """The action that pays the item back."""
    return Action("refund", NEEDS_REFUND, REFUND_TEXTS, REFUND_RESERVED, reasons)


LATE_PARCEL = Intent(
    name="late_parcel",
    category="shipping",
    policy=(
        "Late parcel: the customer waits until the date shown. After it send a replacement (arrives "
        "{arrive}).",
        "A late parcel gets time until the date shown; then we send it again, arriving {arrive}.",
    ),
    cases=(
        Case("in_time", "wait", ("{carrier}, due {past}, last scan {city}. Wait until {limit}.",)),
        Case("overdue", "reship", ("{carrier}, due {past}, last scan {city}. Wait ended {limit}.",), "past"),
    ),
    actions=(
        Action(
            "wait",
            ("order", "carrier", "limit"),
            (
                "Your parcel[order: for order {order}] is late but still moving[carrier: with {carrier}]. "
                "Please "
                "give it <some more time|a little longer>[limit:, until {limit}].",
                "The {item}[order: (order {order})] is still on its way[carrier: with {carrier}]."
                "[limit: Please wait until {limit}; if it is not there by then, we will send it again.]",
                "[carrier: {carrier} has your parcel and] it is still in transit[order: under order "
                "{order}]. "
                "Please allow a few more days[limit:, up to {limit}].",
            ),
            (
                "The parcel[order: {order}] was scanned recently and should still come[carrier: with "
                "{carrier}]. "
                "Please hold on a bit longer[limit:, through {limit}].",
            ),
            ("It was last scanned in {city}.", "It should have come on {past}, so I see why you ask."),
            "future",
        ),
        reship("The first parcel was due on {past}.", "The last scan in {city} is too old to keep waiting."),
    ),
    openers=(
        "Where is my {item}? It was <due|supposed to arrive> on {past}.",
        "Order {order} is late. <When will it come?|What is going on?>",
        "The tracking has not moved since {city}. Is my {item} still coming?",
        "I'm still waiting for the {item}. {carrier} tells me nothing.",
        "Delivery was promised for {past} and nobody came. Please check.",
        "still no parcel. was due {past}",
    ),
    reserved_openers=(
        "I stayed at home on {past} for the {item} and nothing was delivered. Any news?",
        "Is there a delay with {order}? The last update mentions {city}.",
    ),
)

LOST_PARCEL = Intent(
    name="lost_parcel",
    category="shipping",
    policy=(
        "Lost: send again if in stock (arrives {arrive}), else refund in {days} business days. While the "
        "carrier "
        "searches: wait.",
        "During a carrier search the customer waits. Confirmed lost: replacement (arrives {arrive}) or, "
        "with no "
        "stock, refund in {days} business days.",
    ),
    cases=(
        Case(
            "stock",
            "reship",
            ("{carrier} confirmed it lost. Stock: 14.", "Confirmed lost by {carrier}. In stock."),
        ),
        Case("no_stock", "refund", ("{carrier} confirmed it lost. Stock: 0.", "Confirmed lost. Sold out.")),
        Case("searching", "wait", ("{carrier} is searching since {past}, until {limit}. In stock.",)),
    ),
    actions=(
        reship("The carrier confirmed that the first parcel is lost.", "We still have it in stock."),
        refund("The parcel is lost and we have none left.", "It is sold out, so we have none to send."),
        Action(
            "wait",
            ("order", "carrier", "limit"),
            (
                "The carrier is still searching for your parcel[order: for order {order}]"
                "[carrier: ({carrier} runs the search)]. Please wait for the result[limit:, which is due "
                "by {limit}].",
                "A search is running[carrier: at {carrier}][order: for order {order}]. Please give them "
                "<some time|a "
                "little time>[limit:, until {limit}], and we decide what comes next after that.",
                "Please allow the search[carrier: by {carrier}] to finish[limit: on {limit}]; the parcel"
                "[order: {order}] often turns up on the way.",
            ),
            (
                "We have asked for a search[carrier: at {carrier}][order: for {order}]. Please bear with "
                "us while "
                "it runs[limit: (up to {limit})].",
            ),
            ("Most parcels are found in a depot.", "The search started on {past}."),
            "future",
        ),
    ),
    openers=(
        "I think my {item} is lost. <The tracking stopped on {past}.|There has been no scan since {past}.>",
        "{carrier} says they cannot find my parcel. What now?",
        "Order {order} seems to have vanished. Please help.",
        "My parcel never came and the tracking page says exception. It's the {item}.",
        "Has my {item} been lost in {city}? Nothing has moved for days.",
        "parcel lost i guess. order {order}",
    ),
    reserved_openers=(
        "The courier admits that they have no idea where my {item} is.",
        "Nobody seems to know the whereabouts of {order}. Who takes care of this?",
    ),
)

MARKED_DELIVERED = Intent(
    name="marked_delivered",
    category="shipping",
    policy=(
        "Until the date shown the customer checks with neighbors. After it we open a trace with the carrier, "
        "{days} business days.",
        "First the customer asks neighbors and waits until the date shown; then open a carrier trace "
        "({days} business days).",
    ),
    cases=(
        Case("fresh", "wait", ("{carrier} scan: delivered {past}. Neighbor check until {limit}.",)),
        Case("old", "trace", ("{carrier} scan: delivered {past}. Neighbor check ended {limit}.",), "past"),
    ),
    actions=(
        Action(
            "wait",
            ("order", "limit"),
            (
                "The parcel[order: for order {order}] shows as delivered. Please ask your neighbors and "
                "check safe "
                "spots first[limit:, and give it until {limit}].",
                "Parcels marked as delivered often sit with a neighbor. Please look around[limit: until "
                "{limit}] "
                "and tell me if the {item}[order: (order {order})] does not turn up.",
                "Please check with your neighbors and at the front desk[order: for order {order}]. A scan is "
                "sometimes made early[limit:, so allow until {limit}].",
            ),
            (
                "Could you ask around next door first? Some drivers scan too early, so the box[order: for "
                "{order}] "
                "may still come[limit: by {limit}].",
            ),
            ("The scan is from {past}.", "Drivers sometimes leave boxes next door."),
            "future",
        ),
        Action(
            "trace",
            ("order", "carrier", "days"),
            (
                "<I have|I've> opened a trace[carrier: with {carrier}][order: for order {order}]. "
                "<They will answer|We expect an answer>[days: within {days} business days].",
                "A trace[order: for order {order}] is now open[carrier: at {carrier}] and the driver will "
                "be asked"
                "[days:; this takes up to {days} business days].",
                "I started an investigation[carrier: with {carrier}][order: on order {order}]."
                "[days: It takes {days} business days.]",
            ),
            (
                "The carrier[carrier: ({carrier})] has been asked to trace the parcel[order: {order}]"
                "[days: and must answer within {days} business days].",
            ),
            (
                "They check the place where the parcel was scanned.",
                "The time for a neighbor check has passed.",
            ),
        ),
    ),
    openers=(
        "Tracking says my {item} was delivered on {past}, but I have nothing here.",
        "Order {order} is marked as delivered. It is not at my door<.| and nobody rang.>",
        "Your driver claims he delivered the parcel. I was home all day and he did not.",
        "It says delivered[past: {past}]. Where did they leave the {item}?",
        "{carrier} shows a delivery I never got. Please help me find it.",
        "says delivered but its not here",
    ),
    reserved_openers=(
        "The app congratulates me on receiving the {item}. I have not received anything.",
        "Someone must have my parcel {order}, because the status is delivered and I don't.",
    ),
)

ADDRESS_CHANGE = Intent(
    name="address_change",
    category="shipping",
    policy=(
        "We can change the address until the parcel leaves. Afterwards only the carrier can redirect it.",
        "Before dispatch: change the address. After dispatch: we cannot, the customer redirects it in the "
        "carrier app.",
    ),
    cases=(
        Case(
            "packing",
            "change_address",
            ("Status: packing, leaves {limit}.", "Not sent yet, dispatch {limit}."),
        ),
        Case(
            "gone",
            "redirect",
            ("Status: left us {limit} with {carrier}.", "With {carrier} since {limit}."),
            "past",
        ),
    ),
    actions=(
        Action(
            "change_address",
            ("order", "city"),
            (
                "<I have|I've> changed the delivery address[order: of order {order}][city: to {city}].",
                "Your {item}[order: (order {order})] now goes to the new address[city: in {city}].",
                "The new address[city: in {city}] is saved[order: for order {order}] and the label will "
                "show it.",
            ),
            (
                "Good timing: it had not left yet, so the address[order: on {order}] is updated[city: to "
                "{city}].",
            ),
            ("The parcel leaves on {limit}.", "The delivery date stays the same."),
            "future",
        ),
        Action(
            "redirect",
            ("order", "carrier"),
            (
                "The parcel[order: for order {order}] has already left, so I can't change the address any "
                "more. You "
                "can redirect it <in|through> the carrier's app[carrier: ({carrier})].",
                "Order[order: {order}] is already on the road, so the address is fixed on our side."
                " Please redirect it with the carrier[carrier:, {carrier}].",
                "I am not able to change the address now that the parcel is with the carrier[carrier: "
                "({carrier})]"
                "[order: (order {order})]. Their app lets you send it to another place.",
            ),
            (
                "It is too late for an address change[order: on {order}] at our end, but the "
                "carrier[carrier: ({carrier})] "
                "can redirect a parcel that is on the road.",
            ),
            ("It left our warehouse on {limit}.", "You need the tracking number for that."),
            "past",
        ),
    ),
    openers=(
        "I <gave|entered> the wrong address for order {order}. It should go to {city}.",
        "We are moving to {city}. Can you send the {item} there instead?",
        "Please change the delivery address of my {item}, I'll be in {city}.",
        "Can I still change where order {order} goes? New place is in {city}.",
        "My old address is still on the order. I live in {city} now.",
        "need to change address to {city}, order {order}",
    ),
    reserved_openers=(
        "Is it too late to have the {item} sent to my office in {city}?",
        "I picked the wrong saved address and the {item} should go to {city}.",
    ),
)

PARCELS = (LATE_PARCEL, LOST_PARCEL, MARKED_DELIVERED, ADDRESS_CHANGE)
