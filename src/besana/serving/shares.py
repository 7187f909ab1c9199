"""Which version answers: shares in percent, the same version for the same camera."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from pydantic import Field, model_validator

from besana.config import Settings, parse
from besana.errors import ConfigError

PROPERTY = "besana.shares"


class Shares(Settings):
    """Versions beside the champion; what they do not get is the champion's."""

    percent: dict[int, float] = Field(
        default={}, description="Share of the requests in percent by version."
    )
    shadow: list[int] = Field(
        default=[], description="Versions that judge everything and whose answers nobody gets."
    )

    @model_validator(mode="after")
    def _add_up(self) -> Shares:
        if any(not 0 < share <= 100 for share in self.percent.values()):
            raise ValueError("a share is above 0 and at most 100 percent")
        if sum(self.percent.values()) > 100:
            raise ValueError(f"shares add up to {sum(self.percent.values()):g} percent")
        return self

    def changed(self, version: int, *, percent: float, shadow: bool) -> Shares:
        """Give one version another share; 0 and no shadow take it out."""
        shares = {number: share for number, share in self.percent.items() if number != version}
        shadows = [number for number in self.shadow if number != version]
        if percent:
            shares[version] = percent
        if shadow:
            shadows.append(version)
        return parse(Shares, {"percent": shares, "shadow": shadows}, where="shares")


def read_shares(text: str) -> Shares:
    """Read what the registry keeps; nothing means the champion alone.

    Raises:
        ConfigError: If it was written by something else.
    """
    try:
        return parse(Shares, json.loads(text) if text else {}, where=PROPERTY)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{PROPERTY} is not JSON: {error}.", "Run: besana share") from None


def chosen(percent: Mapping[int, float], key: str) -> int | None:
    """Choose the version that answers somebody; None for the champion.

    Args:
        percent: Share by version.
        key: Who asks: a camera, or whatever else stays the same.

    >>> chosen({2: 100.0}, "pen-a")
    2
    >>> chosen({}, "pen-a") is None
    True
    """
    digest = hashlib.sha256(key.encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * 100
    for version, share in sorted(percent.items()):
        if place < share:
            return version
        place -= share
    return None
