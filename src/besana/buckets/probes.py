"""What a bucket really does: rights, conditional writes, region and clock, tried out."""

from __future__ import annotations

import datetime as dt
import email.utils
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from besana.buckets.rules import Place, open_client
from besana.errors import BesanaError, StorageError
from besana.storage import Storage

CLOCK_S = 30.0


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        title: What should be so.
        holds: Whether it is.
        advice: What to do if it is not; empty otherwise.
    """

    title: str
    holds: bool
    advice: str = ""


def probe_storage(store: Storage) -> Iterator[Finding]:
    """Try to write, read, list and delete, and whether a second writer is refused.

    One object below `.besana-probe/` is made and removed again.
    """
    key = f".besana-probe/{uuid.uuid4().hex}"
    probes: list[tuple[str, Callable[[], bool], str]] = [
        (
            "an object can be written",
            lambda: store.write(key, b"besana", replace=False),
            "PutObject",
        ),
        ("an object can be read", lambda: store.read(key) == b"besana", "GetObject"),
        (
            "a part of an object can be read",
            lambda: store.read_range(key, 2, 3) == b"san",
            "GetObject",
        ),
        (
            "a second writer of the same object is refused",
            lambda: not store.write(key, b"other", replace=False),
            "",
        ),
        ("objects can be listed", lambda: key in list(store.list(".besana-probe/")), "ListBucket"),
    ]
    for title, probe, right in probes:
        yield _finding(title, probe, right)
    yield _finding("an object can be deleted", lambda: _deleted(store, key), "DeleteObject")


def _finding(title: str, probe: Callable[[], bool], right: str) -> Finding:
    try:
        holds = probe()
    except BesanaError as error:
        needed = f" It needs s3:{right}." if right else ""
        return Finding(title, False, f"{error.problem}{needed}")
    if holds:
        return Finding(title, True)
    if not right:
        advice = "This server ignores If-None-Match: let only one machine write."
        return Finding(title, False, advice)
    return Finding(title, False, "What came back was not what was written.")


def _deleted(store: Storage, key: str) -> bool:
    store.delete(key)
    return store.size(key) is None


def probe_service(place: Place) -> Iterator[Finding]:
    """Compare the bucket's region with this machine's settings, and the clocks."""
    client = open_client()
    yield _region(client, place)
    yield _clock(client, place)


def _region(client: Any, place: Place) -> Finding:
    title = "the region is the one that is set here"
    # S3 calls its first region by no name.
    found = _ask(lambda: client.get_bucket_location(Bucket=place.bucket)["LocationConstraint"])
    there = found or "us-east-1"
    here = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    advice = f"The bucket is in {there}, AWS_REGION says {here}."
    return Finding(title, here == there, "" if here == there else advice)


def _clock(client: Any, place: Place) -> Finding:
    answer = _ask(lambda: client.head_bucket(Bucket=place.bucket))
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    server = email.utils.parsedate_to_datetime(headers["date"])
    return clock_finding((dt.datetime.now(dt.UTC) - server).total_seconds())


def clock_finding(offset_s: float) -> Finding:
    """Judge how far this machine's clock is ahead of the server's.

    Args:
        offset_s: Seconds; the server writes whole ones, and refuses from 900 on.
    """
    title = "the clock is right"
    if abs(offset_s) <= CLOCK_S:
        return Finding(title, True)
    way = "ahead" if offset_s > 0 else "behind"
    return Finding(title, False, f"It is {abs(offset_s):,.0f} s {way}: set it by NTP.")


def _ask(question: Callable[[], Any]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return question()
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            raise StorageError(
                "The bucket does not exist.", "Make it where it shall stand, or correct store."
            ) from None
        raise StorageError(str(error), "Check address, credentials and rights.") from None
    except BotoCoreError as error:
        raise StorageError(str(error), "Check address, credentials and rights.") from None
