"""Secrets and personal data: check digits decide, examples are masked, and what is published for tests is not counted.

Every number here is made up; keys are put together in the code so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simpo.audit.mend import mend
from simpo.audit.texts.privacy import Privacy, is_address, is_card, is_iban, is_phone, luhn, masked, secrets
from tests.audit.made import found_by, pair


def with_check_digit(digits: str) -> str:
    """The digits with the one behind them that makes Luhn's sum a multiple of ten: tried, not computed."""
    return next(digits + last for last in string.digits if luhn(digits + last))


def iban(country: str, account: str) -> str:
    """The IBAN of an account: check digits are 98 minus the number modulo 97 with 00 in their place (ISO 13616)."""
    number = int("".join(str(int(char, 36)) for char in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02d}{account}"


def test_luhn_by_hand() -> None:
    # 7992739871x: 7+9+9+4+7+6+9+7+7+2 = 67 with every second digit from the right doubled, so x is 3.
    assert [digit for digit in string.digits if luhn(f"7992739871{digit}")] == ["3"]


@given(st.text(string.digits, min_size=14, max_size=14), st.integers(0, 15), st.integers(1, 9))
def test_one_wrong_digit_is_always_seen(middle: str, place: int, change: int) -> None:
    number = with_check_digit(f"4{middle}")
    wrong = str((int(number[place]) + change) % 10)
    assert not luhn(number[:place] + wrong + number[place + 1 :])


@given(
    st.text(string.digits, min_size=14, max_size=14).filter(lambda text: len(set(text)) > 3),
    st.sampled_from(["", " ", "-"]),
)
def test_a_card_number_is_found_with_any_separator(middle: str, separator: str) -> None:
    number = with_check_digit(f"4{middle}")
    shown = separator.join(number[start : start + 4] for start in range(0, 16, 4))
    found = found_by(Privacy(), pair(f"My card is {shown}, thanks."))
    assert ("card_number" in found) == (is_card(number) is True)
    assert is_card(number) or number in ("4111111111111111", "4242424242424242")


@pytest.mark.parametrize(
    "text", ["4111 1111 1111 1111", "5555555555554444", "0000000000000000", "1234567890123456", "42"]
)
def test_numbers_published_for_tests_and_numbers_of_no_network_are_no_cards(text: str) -> None:
    assert not is_card(text)


def test_longer_runs_of_digits_and_decimals_hold_no_card() -> None:
    number = with_check_digit("453201511283036")
    assert is_card(number)
    assert "card_number" in found_by(Privacy(), pair(f"My card: {number}"))
    assert "card_number" not in found_by(Privacy(), pair(f"256626720691 + 1646615806005 = {number}"))
    for text in (f"9{number}", f"{number}7", f"0.{number}", f"{number}.5", f"{number}/1"):
        assert "card_number" not in found_by(Privacy(), pair(f"card {text}")), text


@given(st.text(string.digits, min_size=18, max_size=18))
def test_a_german_account_is_found_and_with_one_digit_changed_it_is_not(account: str) -> None:
    number = iban("DE", account)
    assert is_iban(number) == (number != "DE89370400440532013000")
    shown = " ".join(number[start : start + 4] for start in range(0, 22, 4))
    assert "iban" in found_by(Privacy(), pair(f"IBAN: {shown}."))
    changed = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not is_iban(changed)


def test_an_iban_of_another_length_than_its_country_has_is_none() -> None:
    assert is_iban(iban("GB", "ABCD12345612345678"))
    assert not is_iban(iban("GB", "ABCD1234561234567"))
    assert not is_iban(iban("ZZ", "ABCD12345612345678"))
    assert not is_iban("DE89 3704 0044 0532 0130 00")


@pytest.mark.parametrize(
    ("address", "somebody"),
    [
        ("ada.lund@posteo.de", True),
        ("a_b+c@mail.kernel.org", True),
        ("name@example.com", False),
        ("x@sub.example.org", False),
        ("me@site.test", False),
        ("your.name@gmail.com", False),
        ("user@email.com", False),
        ("logo@2x.png", False),
    ],
)
def test_addresses_of_somebody_count_and_those_of_nobody_do_not(address: str, somebody: bool) -> None:
    assert is_address(address) == somebody
    found = found_by(Privacy(), pair(f"Write to {address}, please."))
    assert ("email_address" in found) == somebody


@pytest.mark.parametrize(
    ("number", "somebody"),
    [
        ("+49 30 901820", True),
        ("+44 (0)20 7946 0958", True),
        ("+33142685300", True),
        ("(212) 736-5000", True),
        ("212-736-5000", True),
        ("1-212-736-5000", True),
        ("1-800-736-5000", False),
        ("212-555-0147", False),
        ("555-0100", False),
        ("123-456-7890", False),
        ("+1 2 3", False),
        ("2024-01-15 to 2024-02-16", False),
        ("1,234,567.89", False),
        ("112-736-5000", False),
        ("ISBN 978-0-306-40615-7", False),
        ("2+34567890123 = x", False),
    ],
)
def test_phone_numbers_of_somebody_count_and_reserved_ones_dates_and_sums_do_not(
    number: str, somebody: bool
) -> None:
    assert ("phone_number" in found_by(Privacy(), pair(f"Call {number} today."))) == somebody
    assert not is_phone("111-111-1111")


KEYS = {
    "AWS key": "AK" + "IA" + "QWERTYUIOPASDFGH",
    "GitHub token": "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "Slack token": "xo" + "xb-" + "123098456123-qweRTY456uioPAS",
    "Stripe key": "sk" + "_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "Google key": "AI" + "za" + "SyA1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q",
    "OpenAI key": "s" + "k-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
    "Hugging Face token": "h" + "f_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
    "JSON web token": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiI0MiJ9xx.c2lnbmF0dXJlc2ln",
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "URL with a password": "postgres://" + "ada:t0psicret" + "@db.internal/shop",
}


@pytest.mark.parametrize(("kind", "key"), KEYS.items())
def test_a_key_is_found_named_and_never_shown(kind: str, key: str) -> None:
    finding = found_by(Privacy(), pair(chosen=f"Use {key} to log in."))["secret"]
    assert finding.figures == {"matches": {"chosen": 1}, "kinds": {kind: 1}}
    (example,) = finding.examples
    assert (example.prompt, example.chosen, example.rejected) == (None, None, None)
    assert key not in example.detail
    assert (finding.severity, finding.repair) == ("error", "drop")


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "sk-your-api-key-goes-here-please-and-thanks",
        "task-management-for-large-distributed-teams",
        "https://user:password@host",
        "http://localhost:8080/path@2x",
        "-----BEGIN PUBLIC KEY-----",
        "risk-adjusted-returns-of-the-portfolio-over-ten-years",
    ],
)
def test_made_up_keys_and_long_words_are_no_secrets(text: str) -> None:
    assert list(secrets(text)) == []


def test_a_social_security_number_counts_where_the_text_says_that_it_is_one() -> None:
    assert "national_id" in found_by(Privacy(), pair("My SSN is 536-22-8726."))
    assert found_by(Privacy(), pair("Part 536-22-8726 is out of stock.")) == {}
    assert found_by(Privacy(), pair("An SSN such as 123-45-6789 or 000-12-3456")) == {}


def test_addresses_and_numbers_are_mended_with_stand_ins_that_are_not_found_again() -> None:
    one = pair(
        "I am ada.lund@posteo.de",
        chosen="Call +49 30 901820 or (212) 736-5000.",
        rejected="Ask ada.lund@posteo.de",
    )
    mended = mend("phone_number", mend("email_address", one))
    assert mended.prompt[0].content == "I am name@example.com"
    assert (mended.chosen, mended.rejected) == ("Call 555-0100 or 555-0100.", "Ask name@example.com")
    assert found_by(Privacy(), mended) == {}


def test_a_mask_shows_two_characters_at_each_end_of_a_long_text() -> None:
    assert masked("ada.lund@posteo.de") == "ad********de"
    assert masked("12345") == "12345"


@given(st.text(max_size=200))
def test_no_text_breaks_the_search(text: str) -> None:
    found = found_by(Privacy(), pair(f"a{text}"))
    assert all(finding.count == 1 for finding in found.values())
