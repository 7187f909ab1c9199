"""uvicorn's protocol with bounds on how long and how large the headers of a request may be."""

from __future__ import annotations

import asyncio

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEADER_S = 10
_HEADER_BYTES = 32 << 10


class Patient(HttpToolsProtocol):
    """Closes a connection that sends its headers byte by byte, without end, or none at all.

    Parsing is llhttp's, in C: refusing a request under overload has to cost next to nothing.
    """

    _late: asyncio.TimerHandle | None = None
    _begun = False
    _headed = False
    _header_bytes = 0

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
        if self._late is not None:  # the headers are not whole yet
            self._count(len(data))
            if self._header_bytes > _HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")

    @override
    def on_message_begin(self) -> None:
        self._headed, self._header_bytes = False, 0
        super().on_message_begin()

    @override
    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # what follows a body in chunks is nobody's header
            self._count(len(name) + len(value))
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._headed = True
        self._stop_waiting()
        super().on_headers_complete()

    @override
    def on_response_complete(self) -> None:
        self._begun = False
        super().on_response_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _count(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes

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
