"""Figures as a person reads them: one place decides decimals, units and signs for the report and the closing table."""

from __future__ import annotations

import math
import re

from markupsafe import Markup, escape

NOTHING = "\N{EN DASH}"

# Signs that a page would hide or obey: controls become their pictures, those that reorder or vanish their numbers.
_HIDDEN = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t\r"} | {0x7F: "\u2421"}
_HIDDEN |= {
    code: f"[U+{code:04X}]" for code in (0xAD, 0x200B, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def number(value: float | None, digits: int = 2) -> str:
    """A figure with fixed decimals, or a dash where there is none."""
    if value is None or _missing(value):
        return NOTHING
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def count(number_of: int, word: str) -> str:
    """A count and its noun, which takes an s but for one: 1 pair, 2 pairs."""
    return f"{whole(number_of)} {word}{'' if number_of == 1 else 's'}"


def whole(value: float | None) -> str:
    """A count with thousands separated: 12,000."""
    return number(value, 0)


def general(value: float) -> str:
    """A recipe's number without padding: 2, 0.5, 8e-7."""
    mantissa, exponent, power = f"{value:.6g}".partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa


def percent(share: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage: 73.9 %."""
    return NOTHING if _missing(share) else f"{number(100 * (share or 0.0), digits)} %"


def percent_range(low: float | None, high: float | None) -> str:
    """An interval of shares: 68.7 to 78.7 %; empty where an end is missing."""
    if _missing(low) or _missing(high):
        return ""
    return f"{number(100 * (low or 0.0), 1)} to {number(100 * (high or 0.0), 1)} %"


def number_range(low: float | None, high: float | None, digits: int = 2) -> str:
    """An interval of figures: 1.20 to 1.44; empty where an end is missing."""
    return "" if _missing(low) or _missing(high) else f"{number(low, digits)} to {number(high, digits)}"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign: +12.9."""
    return ("+" if value > 0 else "") + number(value, digits)


def points(difference: float) -> str:
    """A difference of two shares in percentage points: +12.9."""
    return signed(100 * difference)


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: 4.2 s, 1 min 12 s, 2 h 05 min."""
    if seconds is None or _missing(seconds):
        return NOTHING
    if seconds < 59.95:
        return f"{number(seconds, 1)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(num_bytes: float | None) -> str:
    """Bytes in decimal units: 3.4 GB."""
    if num_bytes is None or _missing(num_bytes):
        return NOTHING
    power = min(int(math.log10(max(num_bytes, 1)) // 3), len(_BYTE_UNITS) - 1)
    return f"{number(num_bytes / 1000**power, 1 if power else 0)} {_BYTE_UNITS[power]}"


def short_hash(value: str) -> str:
    """The first 12 characters of a hash, enough to tell two apart."""
    return value[:12]


def last_name(path: str) -> str:
    """The last part of a path or hub id."""
    return path.rstrip("/").rpartition("/")[2] or path


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop, as a sentence among others."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?:" else ".")


def visible(text: str) -> str:
    """The text with what cannot be seen, or would reorder its line, made visible."""
    return text.translate(_HIDDEN)


def keep_units(text: str) -> str:
    """The text with its percent signs bound to their figures, so that no line begins with one."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def code(text: str) -> Markup:
    """The text escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(visible(text)))))


def clip(text: str, limit: int, where: str) -> str:
    """The text itself, or its first `limit` characters and a line that says what is left out and where it is."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{whole(len(text) - limit)} more characters in {where}]"
