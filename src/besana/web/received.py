"""A request whose body the gate has received already, whole and within its bounds."""

from __future__ import annotations

from starlette.requests import Request
from typing_extensions import override


class Received(Request):
    """Gives the body without looking for further parts of it."""

    _whole: bytes | None = None

    @override
    async def body(self) -> bytes:
        if self._whole is None:
            self._whole = (await self.receive())["body"]
        return self._whole
