"""Why a request is not served: too much at once, too late, or no model."""

from __future__ import annotations

from besana.errors import BesanaError


class OverloadedError(BesanaError):
    """More is waiting than allowed.

    Attributes:
        retry_s: When to come back.
    """

    def __init__(self, problem: str, retry_s: int = 1) -> None:
        super().__init__(problem, "Come back later.")
        self.args = (problem, retry_s)
        self.retry_s = retry_s


class TooLateError(BesanaError):
    """The answer would come after its deadline."""


class DrainingError(BesanaError):
    """The server is about to stop and takes nothing new."""
