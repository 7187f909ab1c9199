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
    _has_headers = False
    _came_bytes = 0
    _header_bytes = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_headers()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None:  # the headers are not whole yet
            self._came_bytes += len(data)
            if self._came_bytes > _HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The headers are too large.")

    @override
    def on_message_begin(self) -> None:
        self._has_headers, self._came_bytes, self._header_bytes = False, 0, 0
        if self._late is None:
            self._wait_for_headers()
        super().on_message_begin()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_headers:  # what follows a body in chunks is nobody's header
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > _HEADER_BYTES:
            raise ValueError("The headers are too large.")  # the parser makes it status 400
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._has_headers = True
        self._stop_waiting()
        super().on_headers_complete()

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
