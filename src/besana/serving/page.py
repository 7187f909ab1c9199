"""The page to drop a picture on, in English and Spanish."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from besana.serving.routes import Rooms
from besana.web.gate import RefusedError
from besana.web.render import render
from besana.web.server import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_FILES = {
    "page.css": "text/css",
    "web.css": "text/css",
    "rooms.css": "text/css",
    "web.js": "text/javascript",
    "drop.js": "text/javascript",
    "mark.svg": "image/svg+xml",
}


class PageRoutes(Rooms):
    """`/` and what it is made of."""

    def routes(self) -> list[Route]:
        """List them."""
        return [
            self.route("GET", "/", self.page, role="public"),
            self.route("GET", "/static/{name}", self.static, role="public"),
        ]

    async def page(self, request: Request) -> Response:
        """Show the page; to anything but a browser, tell that the process runs."""
        from starlette.responses import HTMLResponse, JSONResponse

        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"alive": True})  # Azure ML asks here
        certificate = self.service.fleet.champion.model.certificate
        language = "es" if request.headers.get("accept-language", "")[:2] == "es" else "en"
        name = f"{certificate.model}/{certificate.version}"
        return HTMLResponse(
            render(
                "drop.html",
                title=[f"Try a picture · {name}", f"Probar una imagen · {name}"],
                workspace=name,
                caller=None,
                rooms=[],
                words=_words(),
                page="drop",
                script="drop",
                language=language,
                cameras=sorted(self.service.cameras),
                classes=certificate.classes,
            )
        )

    async def static(self, request: Request) -> Response:
        """Give a script or style."""
        from starlette.responses import Response

        name = request.path_params["name"]
        if name not in _FILES:
            raise RefusedError(404, "not_found", "There is nothing here.")
        return Response(_static(name), media_type=_FILES[name])


@cache
def _static(name: str) -> bytes:
    return (files("besana.web") / "static" / name).read_bytes()


@cache
def _words() -> Markup:
    """Write the phrases of scripts into the page, so that no text can end the element."""
    from besana.web.words import script_phrases

    return Markup(json.dumps(script_phrases()).replace("<", "\\u003c"))  # JSON
