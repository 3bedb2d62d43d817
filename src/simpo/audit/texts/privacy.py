"""Secrets and personal data by pattern, with the check digits where there are any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from simpo.audit.findings import Finding
from simpo.audit.kinds import PRIVACY, found
from simpo.audit.tally import Tally
from simpo.audit.texts.view import View
from simpo.records import Pair

STAND_IN_ADDRESS, STAND_IN_PHONE = "name@example.com", "555-0100"

# name, what a text must hold (all of it) for the pattern to be tried, pattern. To see that a hint is not there is fast.
_SECRETS = tuple(
    (name, hints, re.compile(pattern))
    for name, hints, pattern in (
        ("private key", ("-----BEGIN",), r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        (
            "JSON web token",
            ("eyJ",),
            r"(?<![\w-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        ),
        ("AWS key", ("KIA",), r"\bAKIA[0-9A-Z]{16}\b"),
        ("AWS key", ("ASIA",), r"\bASIA[0-9A-Z]{16}\b"),
        ("GitHub token", ("_", "gh"), r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
        ("GitHub token", ("_pat_",), r"\bgithub_pat_[A-Za-z0-9_]{40,}"),
        ("GitLab token", ("glpat-",), r"(?<![\w-])glpat-[A-Za-z0-9_-]{20,}"),
        ("Slack token", ("xox",), r"(?<![\w-])xox[abpors]-[0-9A-Za-z-]{20,}"),
        ("Stripe key", ("k_live_",), r"\b[rs]k_live_[0-9A-Za-z]{20,}"),
        ("Google key", ("AIza",), r"\bAIza[0-9A-Za-z_-]{35}"),
        ("Anthropic key", ("sk-ant-",), r"(?<![\w-])sk-ant-[A-Za-z0-9_-]{32,}"),
        ("OpenAI key", ("sk-",), r"(?<![\w-])sk-(?!ant-)(?:proj-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{32,}"),
        ("Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
        (
            "URL with a password",
            ("@", "://"),
            r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/:@'\"<>{}$]{1,60}:[^\s/@'\"<>{}$*]{3,80}@[\w.-]+",
        ),
    )
)
_DIGITS = re.compile(r"[0-9](?:[0-9 ().-]{6,}[0-9]|[0-9] ?[A-Z0-9]{4} ?[A-Z0-9]{4})")
_MADE_UP = re.compile(
    r"example|your|xxxx|\.\.\.|password|passwd|secret|1234567|abcdef|user(?:name)?:pass|<|\*\*\*",
    re.IGNORECASE,
)

EMAIL = re.compile(
    r"(?<![\w.+%/-])[\w.+%-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w@-])"
)
# Reserved by RFC 2606 and RFC 6761, and names that stand for any.
_NO_DOMAIN = re.compile(
    r"(?:^|\.)(?:example|invalid|test|localhost|local)$|(?:^|\.)example\.\w+$|"
    r"^(?:e?mail|domain|company|yourcompany|your-?domain|yourdomain|mycompany|website|yourwebsite|site|server|host|abc|xyz|"
    r"sample|somewhere|your-?company|company-?name|\w*example\w*|acme|foo|bar|test)\.(?:com|org|net|co|io|edu)$",
    re.IGNORECASE,
)
# + and a country code, or the North American form with separators.
PHONE = re.compile(
    r"(?<![\w.+/=-])(?:\+\d{8,15}|\+\d{1,4}(?:[ .()-]{1,2}\d{1,8}){1,6}"
    r"|(?:1[ .-])?(?:\(\d{3}\)[ ]?|\d{3}[-.])\d{3}[-.]\d{4})(?![\w/-]|[.,]\d)"
)
_TOLL_FREE = re.compile(r"^1?8(?:00|33|44|55|66|77|88)")
CARD = re.compile(r"(?<![\d.,/-])(?:\d[ -]?){12,18}\d(?![\d/-]|[.,]\d)")
_NETWORKS = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|"
    r"3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)
_IN_GROUPS = re.compile(r"\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5}")
_CARD_WORDS = re.compile(
    r"\b(?:credit|debit|visa|master ?card|amex|american express|card|cvv|cvc|karte|kreditkarte|carte|tarjeta|carta)\b",
    re.IGNORECASE,
)
# What the networks and payment processors publish for tests.
_TEST_CARDS = frozenset(
    """
    4111111111111111 4242424242424242 4012888888881881 4000056655665556 5555555555554444
    5105105105105100 5200828282828210 2223003122003222 378282246310005 371449635398431 378734493671000
    6011111111111117 6011000990139424 30569309025904 38520000023237 3530111333300000 3566002020360505
    """.split()  # noqa: SIM905
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_IBAN_LENGTHS = {
    pair[:2]: int(pair[2:])
    for pair in """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18
    FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21
    MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SE24 SI19 SK24 SM27 TN24 TR26
    UA29 VA22 VG24 XK20
    """.split()  # noqa: SIM905
}
_EXAMPLE_IBANS = frozenset(
    (
        "DE89370400440532013000",
        "GB29NWBK60161331926819",
        "GB82WEST12345698765432",
        "FR1420041010050500013M02606",
    )
)
_SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_SSN_WORDS = re.compile(r"social security|\bSSN\b", re.IGNORECASE)
_MADE_UP_SSN = frozenset(
    ("123-45-6789", "078-05-1120", "219-09-9999", "111-11-1111", "987-65-4321", "555-55-5555")
)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (Luhn, ISO/IEC 7812-1)."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        digit = int(char)
        if index % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


def is_card(text: str) -> bool:
    """Whether a run of digits with separators is the number of a payment card, and none that is published for tests."""
    digits = re.sub(r"\D", "", text)
    if _NETWORKS.fullmatch(digits) is None or digits in _TEST_CARDS or len(set(digits)) < 4:
        return False
    return luhn(digits)


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN (ISO 13616) of its country's length with right check digits, and no known example."""
    compact = text.replace(" ", "")
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact) or compact in _EXAMPLE_IBANS:
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def is_address(text: str) -> bool:
    """Whether an e-mail address could be somebody's: its domain is neither reserved nor a stand-in."""
    name, _, domain = text.rpartition("@")
    if _NO_DOMAIN.search(domain) or domain.lower().endswith((".png", ".jpg", ".py", ".js")):
        return False
    return (
        re.search(
            r"^(?:your|my|user|name|first|last|example|someone|recipient|sender)[\w.]*$|[\[{<]",
            name,
            re.IGNORECASE,
        )
        is None
    )


def is_phone(text: str) -> bool:
    """Whether a number in the form of a phone number could be somebody's: not reserved, toll-free or counted out."""
    digits = re.sub(r"\D", "", text)
    if not 8 <= len(digits) <= 15 or len(set(digits)) < 4 or digits in "012345678901234567890":
        return False
    if text.startswith("+") and not digits.startswith("1"):
        return True
    national = digits.removeprefix("1") if len(digits) == 11 else digits
    if len(national) != 10:
        return False
    # An area code and an exchange begin with 2 to 9; 555 is for fiction.
    return (
        national[0] in "23456789"
        and national[3] in "23456789"
        and "555" not in (national[:3], national[3:6])
        and not _TOLL_FREE.search(digits)
        and national not in ("1234567890", "2345678901")
    )


def masked(text: str) -> str:
    """A secret as an example may show it: its first and last two characters."""
    return text if len(text) < 6 else f"{text[:2]}{'*' * min(8, len(text) - 4)}{text[-2:]}"


def _cards(text: str) -> Iterator[re.Match[str]]:
    """Card numbers in groups, and plain runs of digits where the text speaks of cards: others are often sums."""
    spoken_of = _CARD_WORDS.search(text) is not None
    return (
        match
        for match in CARD.finditer(text)
        if (spoken_of or _IN_GROUPS.fullmatch(match[0])) and is_card(match[0])
    )


def _ibans(text: str) -> Iterator[re.Match[str]]:
    return (match for match in IBAN.finditer(text) if is_iban(match[0]))


def secrets(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """The keys and passwords of a text with the names of their kinds; made-up ones are left out."""
    for name, hints, pattern in _SECRETS:
        if all(hint in text for hint in hints):
            for match in pattern.finditer(text):
                if not _MADE_UP.search(match[0]):
                    yield name, match


def _national_ids(text: str) -> Iterator[re.Match[str]]:
    if not _SSN_WORDS.search(text):
        return iter(())
    return (match for match in _SSN.finditer(text) if match[0] not in _MADE_UP_SSN)


def addresses(text: str) -> Iterator[re.Match[str]]:
    """The e-mail addresses of a text that could be somebody's."""
    return (match for match in EMAIL.finditer(text) if is_address(match[0]))


def phones(text: str) -> Iterator[re.Match[str]]:
    """The phone numbers of a text that could be somebody's."""
    return (match for match in PHONE.finditer(text) if is_phone(match[0]))


_NUMBERS: dict[str, Callable[[str], Iterator[re.Match[str]]]] = {
    "phone_number": phones,
    "card_number": _cards,
    "iban": _ibans,
    "national_id": _national_ids,
}


class Privacy:
    """Secrets, card and account numbers, addresses and phone numbers. Its examples hold no texts."""

    def __init__(self) -> None:
        self._tallies = {kind: Tally(private=True) for kind in PRIVACY}
        self._sides: dict[str, Counter[str]] = {kind: Counter() for kind in PRIVACY}
        self._secrets: Counter[str] = Counter()

    def look(self, number: int, pair: Pair, view: View) -> None:
        """Take in pair `number`."""
        whole = view.whole
        if "@" in whole:
            self._each("email_address", addresses, number, pair, view)
        if _DIGITS.search(whole):
            for kind, finder in _NUMBERS.items():
                self._each(kind, finder, number, pair, view)
        if next(secrets(whole), None):
            for side, text in view.texts():
                for name, match in secrets(text):
                    self._secrets[name] += 1
                    self._add("secret", name, number, pair, side, match)

    def _each(
        self, kind: str, finder: Callable[[str], Iterator[re.Match[str]]], number: int, pair: Pair, view: View
    ) -> None:
        for side, text in view.texts():
            for match in finder(text):
                self._add(kind, kind.replace("_", " "), number, pair, side, match)

    def _add(self, kind: str, name: str, number: int, pair: Pair, side: str, match: re.Match[str]) -> None:
        self._sides[kind][side] += 1
        self._tallies[kind].add(number, pair, f"{side} has {name}: {masked(match[0])}")

    def findings(self, of: int) -> list[Finding]:
        """What was found in `of` pairs."""
        listed = []
        for kind, tally in self._tallies.items():
            figures: dict[str, object] = {"matches": dict(self._sides[kind])}
            if kind == "secret":
                figures["kinds"] = dict(self._secrets.most_common())
            listed += found(kind, tally, of, figures=figures)
        return listed
