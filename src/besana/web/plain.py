"""Answer plain routes without a framework in between: each of its layers costs every request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from besana.errors import BesanaError
from besana.web.gate import Access, App, Receive, RefusedError, Scope, Send

Endpoint = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Json:
    """A small answer: what an endpoint says, with status 200.

    Attributes:
        body: In JSON.
        headers: Further ones.
    """

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    status_code: ClassVar[int] = 200

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
        ]
        headers += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass
class Plain:
    """Call the endpoint of a plain route; what has none is the framework's.

    Args:
        endpoints: What takes the request alone and gives a response.
        app: The framework's application, with all other routes.
        refused: Makes a refusal of what an endpoint raises.
    """

    endpoints: Mapping[Access, Endpoint]
    app: App
    refused: Callable[[Exception], RefusedError]

    def __post_init__(self) -> None:
        """Import once what every request takes."""
        from starlette.exceptions import HTTPException

        from besana.web.received import Received

        self._request, self._known = Received, (BesanaError, HTTPException)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        endpoint = self.endpoints.get(scope["access"]) if scope["type"] == "http" else None
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        try:
            response = await endpoint(self._request(scope, receive))
        except self._known as error:
            raise self.refused(error) from error
        await response(scope, receive, send)
