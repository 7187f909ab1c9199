"""Read when a frame was captured: from its name, EXIF, file time or a metadata column, in UTC."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from besana.images.camera import Camera

# Date and time of day to the second, with the separators that cameras and phones write.
_COMMON = re.compile(
    r"(?<!\d)(?P<year>(?:19|20|21)\d\d)[-_.:]?(?P<month>\d\d)[-_.:]?(?P<day>\d\d)[T_ .-]*"
    r"(?P<hour>\d\d)[-_.:h]?(?P<minute>\d\d)[-_.:m]?(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,6})|(?P<milliseconds>\d{3}))?(?!\d)"
    r" ?(?P<zone>Z|[+-]\d\d:?\d\d(?!\d))?"
)
_UNCONVERTED = "unconverted data remains: "
_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_AHEAD = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CaptureTime:
    """When a frame was captured, and how far that can be believed.

    Attributes:
        at: The time in UTC, None when nobody says.
        source: Where it was read: `name`, `exif`, `modified`, `metadata` or `none`.
        doubt: Why the clock is suspect, with the raw text; empty when it is not.
        text: What was read, as it stands there; empty for a file's time.
        is_plausible: False when the clock was not set, so that the time says nothing about when.
    """

    at: dt.datetime | None
    source: str
    doubt: str = ""
    text: str = ""
    is_plausible: bool = True


def capture_time(
    camera: Camera,
    *,
    stem: str,
    exif: str | None,
    modified_ns: int,
    stated: str = "",
    now: dt.datetime,
) -> CaptureTime:
    """Read a frame's capture time as its camera's settings say.

    Args:
        camera: Where the time stands, its pattern and its zone.
        stem: The file's name without ending.
        exif: EXIF's date and time as written, None without one.
        modified_ns: The file's modification time in nanoseconds since 1970.
        stated: What a metadata column says; it goes before everything else.
        now: The time of the run; a later capture is suspect.
    """
    if stated:
        return _from_text(stated, "metadata", "", camera, now)
    if camera.time_from == "name":
        return _from_text(stem, "name", camera.time_pattern, camera, now)
    if camera.time_from == "exif":
        return _from_text(exif, "exif", "", camera, now) if exif else CaptureTime(None, "none")
    if camera.time_from == "modified":
        at = dt.datetime.fromtimestamp(modified_ns // 1_000_000 / 1000, dt.UTC)
        return _judged(at, "modified", "file time", "", now)
    return CaptureTime(None, "none")


def is_plausible(at: dt.datetime, now: dt.datetime) -> bool:
    """Tell whether a camera with a clock that was set can have captured something then.

    Args:
        at: When it says that it did.
        now: When the frame was collected.
    """
    return _EARLIEST <= at <= now + _AHEAD


def parse_time(text: str, pattern: str = "") -> dt.datetime | None:
    """Read a date and time of day out of a text, without a zone unless the text has one.

    Args:
        text: The text; what stands before or behind one of the common forms does not matter.
        pattern: A strptime pattern that the text must begin with; empty for the common forms.

    >>> parse_time("IMG_20210228_132401")
    datetime.datetime(2021, 2, 28, 13, 24, 1)
    >>> parse_time("cam2-28.02.2021-13h24", "cam2-%d.%m.%Y-%Hh%M")
    datetime.datetime(2021, 2, 28, 13, 24)
    """
    return _strptime(text, pattern) if pattern else _common_form(text)


def to_utc(local: dt.datetime, zone: str) -> tuple[dt.datetime, str]:
    """Turn a local time into UTC, with a doubt where the clocks were changed.

    An hour that occurs twice is taken as the first one (daylight saving time).

    Returns:
        The time in UTC, and the doubt or an empty text.
    """
    if local.tzinfo is not None:
        return local.astimezone(dt.UTC), ""
    first = local.replace(tzinfo=ZoneInfo(zone), fold=0)
    second = first.replace(fold=1)
    at = first.astimezone(dt.UTC)
    if first.utcoffset() == second.utcoffset():
        return at, ""
    if at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) != local:
        return at, f"this hour does not exist in {zone}"
    return at, f"this hour occurs twice in {zone}, taken as the first"


def _from_text(
    text: str, source: str, pattern: str, camera: Camera, now: dt.datetime
) -> CaptureTime:
    local = parse_time(text, pattern)
    if local is None:
        said_nothing = source == "name" and not pattern
        doubt = "" if said_nothing else f"{source} {text!r}: not a time"
        return CaptureTime(None, "none", doubt, "" if said_nothing else text)
    try:
        at, doubt = to_utc(local, camera.time_zone)
    except OverflowError:
        return CaptureTime(None, "none", f"{source} {text!r}: not a time", text)
    if doubt and is_plausible(at, now):
        return CaptureTime(at, source, f"{source} {text!r}: {doubt}", text)
    return _judged(at, source, f"{source} {text!r}", text, now)


def _judged(at: dt.datetime, source: str, said: str, text: str, now: dt.datetime) -> CaptureTime:
    if is_plausible(at, now):
        return CaptureTime(at, source, text=text)
    doubt = "before the year 2000" if at < _EARLIEST else "in the future"
    return CaptureTime(at, source, f"{said}: {doubt}", text, is_plausible=False)


def _strptime(text: str, pattern: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, pattern)  # noqa: DTZ007  # the camera's zone follows
    except ValueError as error:
        message = str(error)
    if not message.startswith(_UNCONVERTED):
        return None
    rest = message.removeprefix(_UNCONVERTED)
    return _strptime(text.removesuffix(rest), pattern) if text.endswith(rest) else None


def _common_form(text: str) -> dt.datetime | None:
    for match in _COMMON.finditer(text):
        parts = match.groupdict()
        fraction = parts["fraction"] or parts["milliseconds"] or "0"
        try:
            return dt.datetime(
                int(parts["year"]),
                int(parts["month"]),
                int(parts["day"]),
                int(parts["hour"]),
                int(parts["minute"]),
                int(parts["second"]),
                int(fraction.ljust(6, "0")),
                tzinfo=_zone(parts["zone"]),
            )
        except ValueError:
            continue
    return None


def _zone(text: str | None) -> dt.tzinfo | None:
    if not text:
        return None
    if text == "Z":
        return dt.UTC
    offset = dt.timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return dt.timezone(-offset if text[0] == "-" else offset)
