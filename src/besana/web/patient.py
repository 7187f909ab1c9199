"""uvicorn's protocol with a bound on how long the headers of a request may take."""

from __future__ import annotations

import asyncio

from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol

_HEADER_S = 10


class Patient(H11Protocol):
    """Closes a connection that sends its headers byte by byte, or none at all."""

    _late: asyncio.TimerHandle | None = None
    _begun = False

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()

    @override
    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if self._late is None:
                self._wait_for_headers()
        super().data_received(data)

    @override
    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    @override
    def on_response_complete(self) -> None:
        self._begun = False
        super().on_response_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._late = self.loop.call_later(_HEADER_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n")
            self.transport.close()
