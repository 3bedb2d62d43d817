"""The shipping intents about what was in the box, customs and returns: policies, cases, and what is said."""

from __future__ import annotations

from .intents import Action, Case, Intent
from .shipping import refund, reship

DAMAGED_ITEM = Intent(
    name="damaged_item",
    category="shipping",
    policy=(
        "With a photo: replacement if in stock (arrives {arrive}), else refund in {days} business days. "
        "Without: "
        "ask for a photo.",
        "No photo: ask for one. Photo and stock: send a new one, arrives {arrive}. Photo, no stock: refund, "
        "{days} business days.",
    ),
    cases=(
        Case("stock", "reship", ("Photo received. Stock: 8.", "Photo on file, in stock.")),
        Case("no_stock", "refund", ("Photo received. Stock: 0.", "Photo on file, sold out.")),
        Case("no_photo", "ask_photo", ("No photo yet. In stock.", "Photo missing. Stock: 5.")),
    ),
    actions=(
        reship("The photo shows clearly what happened.", "There is no need to send the broken one back."),
        refund("It is sold out, so we have none to send.", "There is no need to send the broken one back."),
        Action(
            "ask_photo",
            ("order", "item"),
            (
                "Could you send me a photo of the damage[item: to the {item}][order: (order {order})]? I "
                "can settle "
                "it as soon as I have it.",
                "Please reply with a picture that shows the damage[item: on the {item}][order: for order "
                "{order}].",
                "Before I can decide[order: on order {order}], I need a photo that shows the damage[item: "
                "to the {item}].",
            ),
            ("A photo of the broken spot[item: on the {item}] is all I still need[order: for {order}].",),
            ("One photo with a phone is enough.", "We need it to claim the damage from the carrier."),
        ),
    ),
    openers=(
        "My {item} arrived broken. <What are you going to do about it?|Please help.>",
        "The {item} from order {order} is damaged, there is a big crack in it.",
        "I opened the box and the {item} is scratched and bent.",
        "The package was crushed and the {item} does not work.",
        "Got the {item} today and one corner is smashed. I'm not keeping it like this.",
        "{item} came damaged, order {order}",
    ),
    reserved_openers=(
        "Sad to say that the {item} did not survive the trip. There is a dent across the front.",
        "The {item} rattles and something inside is loose. It must have been dropped.",
    ),
)

WRONG_ITEM = Intent(
    name="wrong_item",
    category="shipping",
    policy=(
        "Wrong item sent: ship the right one if in stock (arrives {arrive}), else refund in {days} "
        "business days.",
        "If we sent the wrong thing and have the right one, send it, arrives {arrive}. If not, refund, "
        "{days} business days.",
    ),
    cases=(
        Case(
            "stock",
            "reship",
            ("Packing slip shows a {wrong}. {item}: in stock.", "Sent: {wrong}. Stock of {item}: 6."),
        ),
        Case(
            "no_stock",
            "refund",
            ("Packing slip shows a {wrong}. {item}: sold out.", "Sent: {wrong}. {item}: stock 0."),
        ),
    ),
    actions=(
        reship("You can keep the {wrong} or give it away.", "Our packing slip shows the mix-up."),
        refund("The {item} is sold out for this season.", "You can keep the {wrong} or give it away."),
    ),
    openers=(
        "I ordered the {item} and got a {wrong}. <How did that happen?|Please sort it out.>",
        "Wrong item in the box: a {wrong} instead of my {item}.",
        "There is a {wrong} in my parcel. I never ordered that. Order {order}.",
        "You sent me someone else's {wrong}. Where is my {item}?",
        "The box for {order} has the right label but a {wrong} is inside.",
        "got a {wrong} not the {item}",
    ),
    reserved_openers=(
        "Surprise: a {wrong} came out of the box, and I was looking forward to the {item}.",
        "Somebody at your warehouse mixed things up, I now own a {wrong}.",
    ),
)

MISSING_PART = Intent(
    name="missing_part",
    category="shipping",
    policy=(
        "Missing part: send the part if in stock, otherwise send a complete new item. Either arrives "
        "{arrive}.",
        "Send the missing part alone when we have it, else a whole new item; arrival {arrive} in both cases.",
    ),
    cases=(
        Case("part", "send_part", ("{part}: in stock.", "Stock of {part}: 30.")),
        Case(
            "no_part",
            "reship",
            ("{part}: not in stock. {item}: in stock.", "Stock of {part}: 0, {item}: 12."),
        ),
    ),
    actions=(
        Action(
            "send_part",
            ("order", "part", "arrive"),
            (
                "<I have|I've> <posted|sent> the missing part[part: ({part})][order: for order {order}] today"
                "[arrive: and it arrives on {arrive}].",
                "The missing part[part:, the {part},] is on its way to you[order: for order {order}]."
                "[arrive: It should be there on {arrive}.]",
                "We are sending you the part that was missing[part: (the {part})][order: for order {order}]"
                "[arrive:, with delivery on {arrive}].",
            ),
            (
                "The part you miss[part:, the {part},] leaves our warehouse today[order: for {order}]"
                "[arrive: and reaches you on {arrive}].",
            ),
            ("It fits without tools.", "You can keep the rest as it is."),
        ),
        reship("We have no single parts left.", "You can keep the incomplete one for spares."),
    ),
    openers=(
        "The {part} is missing from my {item}. <Can you send it?|I can't use it like this.>",
        "My {item} came without the {part}. Order {order}.",
        "I unpacked everything twice, there is no {part} with the {item}.",
        "The manual of the {item} shows a {part}. I did not get one.",
        "Can't put the {item} together because the {part} was not in the box.",
        "{part} missing, order {order}",
    ),
    reserved_openers=(
        "Everything was in the box except the {part}. What do we do about that?",
        "My {item} is incomplete: the {part} isn't there.",
    ),
)

CUSTOMS = Intent(
    name="customs",
    category="shipping",
    policy=(
        "Duties included: we pay back the customs charge within {days} business days. Not included: the "
        "customer "
        "pays it.",
        "If duties were included in the order, reimburse them ({days} business days); if not, they are the "
        "customer's to pay.",
    ),
    cases=(
        Case("included", "reimburse", ("Duties included. Customs charged {amount2}.",)),
        Case("not_included", "pay_duty", ("Duties not included. Customs charged {amount2}.",)),
    ),
    actions=(
        Action(
            "reimburse",
            ("order", "amount2", "days"),
            (
                "Duties were included[order: in order {order}], so <I have|I've> refunded the customs charge"
                "[amount2: of {amount2}].[days: It reaches you within {days} business days.]",
                "We pay back the customs fee[amount2: of {amount2}][order: for order {order}]"
                "[days:, which takes up to {days} business days].",
                "You should not have been charged. The customs fee[amount2: of {amount2}]"
                "[order: on order {order}] is being reimbursed[days: within {days} business days].",
            ),
            (
                "The duty you paid[amount2: ({amount2})][order: on {order}] comes back to your card"
                "[days: within {days} business days].",
            ),
            ("All import costs were part of the price.", "The charge was an error at the border."),
        ),
        Action(
            "pay_duty",
            ("order", "amount2"),
            (
                "Import duties were not included[order: in order {order}], so the customs charge[amount2: "
                "of {amount2}] "
                "has to be paid by you, the recipient.",
                "The customs charge[amount2: of {amount2}] is set by your country and is not part of the "
                "price"
                "[order: of order {order}]. Please pay it to the carrier to get the parcel.",
                "This order[order: ({order})] was sold without duties. The fee[amount2: of {amount2}] is "
                "yours to pay "
                "and goes to customs, not to us.",
            ),
            (
                "Duties are the buyer's part[order: on {order}]. Once you have paid the charge[amount2: "
                "of {amount2}], "
                "the parcel is released.",
            ),
            ("This was shown at checkout.", "The carrier hands over the parcel after that."),
        ),
    ),
    openers=(
        "{carrier} wants {amount2} customs from me for the {item}. <Is that right?|Who pays this?>",
        "I had to pay {amount2} in duties for order {order}. Nobody told me.",
        "Customs is holding my {item} until I pay {amount2}.",
        "Why am I being asked for import fees of {amount2}?",
        "There is a bill for {amount2} from customs with my parcel. I already paid you {amount}.",
        "customs fee {amount2}?? for {order}",
    ),
    reserved_openers=(
        "The driver would not hand over the {item} without {amount2} for customs.",
        "Are import charges my business or yours? They ask for {amount2} on {order}.",
    ),
)

RETURN_REQUEST = Intent(
    name="return_request",
    category="shipping",
    policy=(
        "Returns until the date shown with a prepaid label. Later, or final sale: no return.",
        "Send a prepaid label until the return date. After it, and for final sale items, decline.",
    ),
    cases=(
        Case("in_window", "return_label", ("Delivered {past}, return date {limit}.",)),
        Case("late", "decline_return", ("Delivered {past}, return date {limit}.",), "past"),
        Case("final_sale", "decline_return", ("Final sale. Delivered {past}, return date {limit}.",)),
    ),
    actions=(
        Action(
            "return_label",
            ("order", "limit"),
            (
                "<I have|I've> emailed you a prepaid return label[order: for order {order}]. Please send "
                "the {item} "
                "back[limit: by {limit}].",
                "You can return the {item}[order: (order {order})][limit: until {limit}]. The prepaid "
                "label is in your "
                "inbox.",
                "A prepaid label[order: for order {order}] is on its way to your email. <Put it on the "
                "box and drop it "
                "off|Stick it on the box and drop it off>[limit: by {limit}].",
            ),
            (
                "Of course you can return it. The label[order: for {order}] is in your inbox, free for you"
                "[limit: and valid until {limit}].",
            ),
            ("The money follows once the box is back.", "Any shop of the carrier takes it."),
            "future",
        ),
        Action(
            "decline_return",
            ("order", "item"),
            (
                "I am not able to accept a return[item: of the {item}][order: from order {order}] under "
                "our return "
                "rules.",
                "Unfortunately we can't take a return any more[item: for the {item}][order: (order "
                "{order})].",
                "A return[item: of the {item}][order: on order {order}] is no longer possible.",
            ),
            ("We cannot offer a return[item: for the {item}][order: ({order})] in this case.",),
            ("The last day and the exceptions are on the receipt.", "The delivery was on {past}."),
        ),
    ),
    openers=(
        "I want to return the {item}. <How do I do that?|It's not what I expected.>",
        "The {item} does not fit where I want it. Can I send it back?",
        "How do I return order {order}?",
        "I changed my mind about the {item}. Please send a return label.",
        "Can you take back the {item}? It is unused<.| and still in the box.>",
        "return {item}, order {order}, how",
    ),
    reserved_openers=(
        "The {item} looks different from the photos and I'd rather not keep it.",
        "What are my options if I don't want the {item} from {order} any longer?",
    ),
)

CONTENTS = (DAMAGED_ITEM, WRONG_ITEM, MISSING_PART, CUSTOMS, RETURN_REQUEST)
