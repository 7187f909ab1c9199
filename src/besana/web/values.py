"""How a value is written: its unit beside it, its digits as the language groups them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from besana.web.language import UNITS, spanish_number, text, unit_suffix

NOTHING = "\u2013"

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB")


def value_text(value: Any, language: str, key: str = "") -> str:
    """Write one value for people.

    Args:
        value: A number, truth value, time, interval `(low, high)` or text; None for nothing.
        language: `en` or `es`.
        key: The fact's or column's key; its suffix tells the unit.

    >>> print(value_text(3_400_000, "en", "size_bytes"))
    3.4\u00a0MB
    >>> print(value_text(0.051, "es", "dropped_share"))
    5,1\u00a0%
    """
    value = plain_scalar(value)
    if isinstance(value, bool):
        return text("Yes" if value else "No", language)
    if isinstance(value, (int, float)):
        return number_text(value, language, unit_suffix(key))
    if isinstance(value, date):
        return time_text(value) if isinstance(value, datetime) else value.isoformat()
    if isinstance(value, (tuple, list)):
        return " … ".join(value_text(part, language, key) for part in value)
    return NOTHING if value is None else str(value)


def number_text(value: float, language: str, unit: str = "", decimals: int | None = None) -> str:
    """Write a number in about four digits, whole numbers in full.

    Args:
        value: The number.
        language: `en` or `es`.
        unit: A suffix of `language.UNITS`, as `_bytes`; empty for a bare number.
        decimals: How many decimals to write; None picks them from the number.
    """
    if not math.isfinite(value):
        return NOTHING
    if unit == "_bytes":
        digits = _bytes_text(value)
    elif unit == "_share":
        # A thin share must not look like none at all.
        digits = _digits(100 * value, decimals if decimals is not None else _share_decimals(value))
    elif unit == "_s":
        digits = _duration_text(value)
    else:
        digits = _digits(value, decimals)
    symbol = "" if unit in ("", "_bytes", "_s") else UNITS[unit]
    joined = digits + ("" if not symbol or symbol[0] in "/°" else "\u00a0") + symbol
    return spanish_number(joined) if language == "es" else joined


def plain_scalar(value: Any) -> Any:
    """Turn a NumPy scalar into Python's; anything else stays."""
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


def column_decimals(values: Sequence[Any]) -> int | None:
    """Pick the decimals that a column of numbers shares, so that its points stand in line.

    Returns:
        None when the column holds no fractional number.
    """
    numbers = [
        float(v)
        for v in map(plain_scalar, values)
        if isinstance(v, (int, float)) and not isinstance(v, bool)
    ]
    finite = [abs(v) for v in numbers if math.isfinite(v)]
    if not finite or all(v == int(v) for v in finite):
        return None
    return _decimals(max(finite))


def time_text(value: datetime) -> str:
    """Write a time to the second; a UTC one says so.

    >>> from datetime import UTC
    >>> time_text(datetime(2026, 3, 1, 5, 7, tzinfo=UTC))
    '2026-03-01 05:07:00 UTC'
    """
    shown = value.strftime("%Y-%m-%d %H:%M:%S")
    return f"{shown} UTC" if value.utcoffset() == timedelta(0) else shown


def _digits(value: float, decimals: int | None) -> str:
    if decimals is None:
        decimals = 0 if value == int(value) else _decimals(abs(value))
    return f"{value:,.{decimals}f}".replace("-", "\u2212")


def _decimals(size: float) -> int:
    """Give the decimals that leave about four digits of a number of this size."""
    if size == 0:
        return 0
    return min(max(2 - math.floor(math.log10(size)), 0), 6)


def _share_decimals(share: float) -> int:
    percent = abs(100 * share)
    if percent in (0, 100):
        return 0
    return 1 if 1 <= percent <= 99 else 2


def _bytes_text(value: float) -> str:
    power = min(int(math.log10(max(abs(value), 1)) / 3), len(_BYTES) - 1)
    scaled = value / 1000**power
    return f"{_digits(scaled, 0 if scaled >= 100 or power == 0 else 1)}\u00a0{_BYTES[power]}"


def _duration_text(seconds: float) -> str:
    if seconds < 100:
        decimals = 0 if seconds == int(seconds) else 2 if seconds < 1 else 1
        return f"{_digits(seconds, decimals)}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes}\u00a0min {rest:02d}\u00a0s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes:02d}\u00a0min"
