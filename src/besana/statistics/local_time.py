"""The clock on the barn's wall: from UTC seconds to local days and back, in arrays."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from besana.errors import ConfigError

_DAY_S = 86_400
# No time zone since 1970 changed its offset at another time than a full quarter of an hour.
_STEP_S = 900
_EPOCH = dt.date(1970, 1, 1)


def time_zone(name: str) -> ZoneInfo:
    """Open a time zone by its IANA name.

    Raises:
        ConfigError: If nobody knows the name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"Unknown time zone '{name}'.", "Use an IANA name like 'Europe/Madrid' or 'UTC'."
        ) from None


def local_seconds(captured_at_s: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """Give what a clock on the wall showed, as seconds since 1970 of that clock.

    Args:
        captured_at_s: (n,) UTC seconds since 1970.
        zone: IANA name of the time zone.

    >>> local_seconds(np.array([0]), "Asia/Shanghai").tolist()
    [28800]
    """
    opened = time_zone(zone)
    steps, inverse = np.unique(captured_at_s // _STEP_S, return_inverse=True)
    offsets = np.fromiter((_offset_s(int(s) * _STEP_S, opened) for s in steps), dtype=np.int64)
    return np.asarray(captured_at_s + offsets[inverse])


def local_days(captured_at_s: NDArray[np.int64], zone: str) -> NDArray[np.int32]:
    """Give the local day of each time, as days since 1970-01-01."""
    return np.asarray(local_seconds(captured_at_s, zone) // _DAY_S, dtype=np.int32)


def day_number(day: dt.date) -> int:
    """Count the days from 1970-01-01 to a date."""
    return (day - _EPOCH).days


def day_date(number: int) -> dt.date:
    """Give the date that lies a number of days after 1970-01-01."""
    return _EPOCH + dt.timedelta(days=number)


def day_edges_s(first_day: int, last_day: int, zone: str) -> NDArray[np.int64]:
    """Give the UTC seconds at which each local day begins, and at which the last one ends.

    A day is 23 or 25 hours long when the clocks change.

    Args:
        first_day: Days since 1970-01-01 of the first day.
        last_day: The same of the last day, which is included.
        zone: IANA name of the time zone.
    """
    opened = time_zone(zone)
    return np.array(
        [
            int(dt.datetime.combine(day_date(day), dt.time(), opened).timestamp())
            for day in range(first_day, last_day + 2)
        ],
        dtype=np.int64,
    )


def _offset_s(at_s: int, zone: ZoneInfo) -> int:
    offset = dt.datetime.fromtimestamp(at_s, zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0
