"""A network link to a bucket: latency and a rate, refusals on demand, every request counted.

Run as a program it stands between a benchmark and a server: python bucket_link.py PORT LATENCY RATE
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

REFUSAL = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
VERBS = (b"GET ", b"HEAD ", b"PUT ", b"POST ")


@dataclass
class Link:
    """Forward connections to a server of this machine.

    Attributes:
        target: Port of the server.
        latency_s: Seconds from a request to its answer, both ways together.
        rate: Bytes a second towards the client, all connections together; 0 for any.
        refusals: How many of the next requests get a 503.
        cuts: How many of the next long answers break off in their middle.
        requests: Verbs of all requests that came.
        refused: How many were refused.
        sent_bytes: Bytes of answers.
    """

    target: int
    latency_s: float = 0.0
    rate: float = 0.0
    refusals: int = 0
    cuts: int = 0
    requests: list[str] = field(default_factory=list)
    refused: int = 0
    sent_bytes: int = 0
    port: int = 0
    _free_at: float = 0.0

    def __enter__(self) -> "Link":
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(started)), daemon=True
        )
        self._thread.start()
        started.wait(10)
        return self

    def __exit__(self, *_: Any) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def serve(self, started: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopped.wait()
        server.close()
        await asyncio.sleep(0)  # a connection that has just come gets as far as to be closed

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closed_after(writer):
            there, back = await asyncio.open_connection("127.0.0.1", self.target, limit=1 << 20)
            async with closed_after(back):
                ways = self._forward(reader, back, writer), self._answer(there, writer)
                await asyncio.gather(*ways)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(1 << 16):
            if data.startswith(VERBS):
                self.requests.append(data.split(b" ", 1)[0].decode())
                await asyncio.sleep(self.latency_s / 2)
                if self.refusals:
                    self.refusals -= 1
                    self.refused += 1
                    client.write(REFUSAL)
                    continue
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send chunks through the link one after the other; each arrives half a latency later."""
        pending: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        sender = asyncio.create_task(self._send(pending, writer))
        try:
            while data := await reader.read(1 << 16):
                if self.cuts and len(data) > 2000:
                    self.cuts -= 1
                    data = data[:-1000]
                    await pending.put((0.0, data))
                    break
                now = self._loop_time()
                self._free_at = max(now, self._free_at)
                self._free_at += len(data) / self.rate if self.rate else 0.0
                await pending.put((self._free_at + self.latency_s / 2, data))
            await pending.put((0.0, b""))
            await sender
        finally:
            sender.cancel()

    async def _send(
        self, pending: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            at, data = await pending.get()
            if not data:
                writer.close()
                return
            await asyncio.sleep(max(0.0, at - self._loop_time()))
            self.sent_bytes += len(data)
            writer.write(data)
            await writer.drain()

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def closed_after(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection at the end, whether it broke off or the link is taken away."""
    with contextlib.suppress(OSError, asyncio.CancelledError):
        try:
            yield
        finally:
            writer.close()
            await writer.wait_closed()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    target, latency_s, rate = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    with Link(target, latency_s, rate) as link:
        say(f"{link.port}")
        for line in sys.stdin:  # each line asks for the counts
            say(f"{len(link.requests)} {link.sent_bytes}")
            if line.strip() == "end":
                return


if __name__ == "__main__":
    main()
