"""uvicorn's protocol: bounds on the headers of a request, and answers that go out whole."""

from __future__ import annotations

import asyncio
from typing import Any

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEADER_S = 10
_HEADER_BYTES = 32 << 10
# An answer up to this size is sent at once; of a larger one the transport holds back.
_SMALL_BYTES = 32 << 10


class Whole(asyncio.Transport):
    """Send the head of an answer together with its body: one call of the kernel, one packet.

    What is written waits until the answer is whole, or until the loop turns, or until it is more
    than a small answer.

    Args:
        transport: Where it goes.
        loop: Turns.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []
        self._size_bytes = 0

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._loop.call_soon(self.send)
        self._parts.append(bytes(data))
        self._size_bytes += len(data)
        if self._size_bytes > _SMALL_BYTES:
            self.send()

    def send(self) -> None:
        """Send what waits."""
        if self._parts:
            whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts, self._size_bytes = [], 0
            self._transport.write(whole)

    @override
    def close(self) -> None:
        self.send()
        self._transport.close()

    @override
    def abort(self) -> None:
        self._parts = []
        self._transport.abort()

    @override
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    @override
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    @override
    def pause_reading(self) -> None:
        self._transport.pause_reading()

    @override
    def resume_reading(self) -> None:
        self._transport.resume_reading()


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
        self._whole = Whole(transport, self.loop)
        super().connection_made(self._whole)
        self._wait_for_headers()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._has_headers:
            return
        self._came_bytes += len(data)
        if self._late is None:  # most requests are whole at once and need no clock
            self._wait_for_headers()
        if self._came_bytes > _HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    @override
    def on_message_begin(self) -> None:
        self._has_headers, self._came_bytes, self._header_bytes = False, 0, 0
        super().on_message_begin()

    @override
    def on_response_complete(self) -> None:
        self._whole.send()
        super().on_response_complete()

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
    def on_message_complete(self) -> None:
        self.scope["state"]["whole"] = True  # so the gate needs no clock for the body
        super().on_message_complete()

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
