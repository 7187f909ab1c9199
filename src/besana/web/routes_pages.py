"""The pages themselves, their scripts and styles, and the reports of stages."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from besana.errors import NotFoundError
from besana.web.desk import Desk
from besana.web.gate import ROLES, Access, Caller, RefusedError, Scope
from besana.web.render import render
from besana.web.server import Route
from besana.web.status import status_facts
from besana.web.words import script_phrases

# Page -> least role, name in the navigation, title in English and Spanish, script.
PAGES: dict[str, tuple[str, str]] = {
    "status": ("viewer", "Status"),
    "label": ("labeller", "Label"),
    "grid": ("labeller", "Grid"),
    "strip": ("labeller", "Strip"),
    "review": ("reviewer", "Review"),
    "team": ("reviewer", "Team"),
    "classes": ("labeller", "Classes"),
    "data": ("viewer", "Data"),
    "regions": ("admin", "Regions"),
    "people": ("admin", "People"),
}
TITLES = {
    "Status": "Estado",
    "Label": "Etiquetar",
    "Grid": "Rejilla",
    "Strip": "Tira",
    "Review": "Revisar",
    "Team": "Equipo",
    "Spot checks": "Comprobaciones",
    "Classes": "Clases",
    "Data": "Datos",
    "Picture": "Imagen",
    "Regions": "Regiones",
    "People": "Personas",
    "Sign in": "Entrar",
    "Begin": "Empezar",
    "Join": "Unirse",
}
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
_REPORT = re.compile(r"[a-z]+(-\d{8}T\d{6}[0-9Z-]*)?(-[a-z0-9_-]+)?\.(html|json|csv|svg|png)")


class PageRoutes:
    """Routes of pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("GET", "/", "viewer"), self.status),
            Route(Access("GET", "/label", "labeller"), self.label),
            Route(Access("GET", "/grid", "labeller"), self.grid),
            Route(Access("GET", "/strip", "labeller"), self.strip),
            Route(Access("GET", "/spot-checks", "labeller"), self.spot_checks),
            Route(Access("GET", "/review", "reviewer"), self.review),
            Route(Access("GET", "/team", "reviewer"), self.team),
            Route(Access("GET", "/classes", "labeller"), self.classes),
            Route(Access("GET", "/data", "viewer"), self.data),
            Route(Access("GET", "/data/picture", "viewer"), self.picture),
            Route(Access("GET", "/regions", "admin"), self.regions),
            Route(Access("GET", "/people", "admin"), self.people),
            Route(Access("GET", "/sign-in", "public"), self.sign_in),
            Route(Access("GET", "/start", "public"), self.start),
            Route(Access("GET", "/join", "public"), self.join),
            Route(Access("GET", "/static/{name}", "public"), self.static),
            Route(Access("GET", "/reports/{name}", "viewer"), self.report),
        ]

    def page(self, request: Request, name: str, title: str, **context: Any) -> Response:
        """Fill in a page for the caller."""
        caller: Caller | None = request.scope["caller"]
        return HTMLResponse(
            self.text(
                context.pop("template", name),
                page=name,
                title=title,
                caller=caller,
                language=language_of(request.scope),
                **{"script": name, **context},
            )
        )

    def text(self, template: str, *, title: str, caller: Caller | None, **context: Any) -> str:
        """Write the HTML of a page."""
        workspace = self._desk.workspace.name
        rooms = [
            (name, label)
            for name, (role, label) in PAGES.items()
            if caller is not None and ROLES.index(caller.role) >= ROLES.index(role)
        ]
        titles = [f"{title} · {workspace}", f"{TITLES.get(title, title)} · {workspace}"]
        return render(
            f"{template}.html",
            title=titles,
            workspace=workspace,
            caller=caller,
            rooms=rooms,
            words=_words(),
            **context,
        )

    def error_page(self, scope: Scope, refused: RefusedError) -> str:
        """Write the page of an error in the language of the request."""
        headings = {403: "Not allowed", 404: "Not found", 503: "Busy"}
        return self.text(
            "error",
            page="error",
            title="besana",
            caller=None,
            language=language_of(scope),
            script="web",
            status=refused.status,
            heading=headings.get(refused.status, "That did not work"),
            problem=refused.problem,
        )

    def status(self, request: Request) -> Response:
        """Show how far everything is."""
        return self.page(request, "status", "Status", script="web", **status_facts(self._desk))

    def label(self, request: Request) -> Response:
        """Show one picture after another."""
        return self._bench(request, "label", "Label")

    def spot_checks(self, request: Request) -> Response:
        """Show frames whose label was spread over a run, to judge that."""
        return self._bench(request, "spot-check", "Spot checks")

    def review(self, request: Request) -> Response:
        """Show what people disagree about."""
        return self._bench(request, "review", "Review")

    def _bench(self, request: Request, mode: str, title: str) -> Response:
        more = {"template": "label", "script": "label", "mode": mode, "heading": title}
        return self.page(request, mode, title, multi=self._desk.is_multi(), **more)

    def grid(self, request: Request) -> Response:
        """Show many pictures that look alike."""
        return self.page(request, "grid", "Grid", multi=self._desk.is_multi())

    def strip(self, request: Request) -> Response:
        """Show the frames of one region in the order of time."""
        return self.page(request, "strip", "Strip", multi=self._desk.is_multi())

    def team(self, request: Request) -> Response:
        """Show how far people agree and how fast they are."""
        return self.page(request, "team", "Team")

    def classes(self, request: Request) -> Response:
        """Show the classes and what is known of them."""
        return self.page(request, "classes", "Classes")

    def data(self, request: Request) -> Response:
        """Show pictures by filters."""
        return self.page(request, "data", "Data")

    def picture(self, request: Request) -> Response:
        """Show everything about one picture."""
        return self.page(request, "data", "Picture", template="picture", script="picture")

    def regions(self, request: Request) -> Response:
        """Show a camera's lens and regions, to be corrected."""
        return self.page(request, "regions", "Regions")

    def people(self, request: Request) -> Response:
        """Show who may what."""
        return self.page(request, "people", "People")

    def sign_in(self, request: Request) -> Response:
        """Ask for name and password."""
        if request.scope["caller"] is not None:
            return RedirectResponse("/", 303)
        return self._enter(request, "sign-in", "Sign in", "With your own name and password.")

    def start(self, request: Request) -> Response:
        """Take the link that the server printed when it started."""
        lead = (
            "This link comes from whoever started the server. Choose the name that your labels"
            " will carry, and a password; you are an admin then and can invite others."
        )
        return self._enter(request, "start", "Begin", lead)

    def join(self, request: Request) -> Response:
        """Take an invitation."""
        lead = "You were invited. Choose the name that your labels will carry, and a password."
        return self._enter(request, "join", "Join", lead)

    def _enter(self, request: Request, way: str, heading: str, lead: str) -> Response:
        return self.page(
            request, "enter", heading, way=way, heading=heading, lead=lead, button=heading
        )

    async def static(self, name: str) -> Response:
        """Give a script, a style or the mark."""
        found = _static().get(name)
        if found is None:
            raise RefusedError(404, "not_found", "There is nothing here.")
        body, kind = found
        return Response(body, media_type=kind, headers={"cache-control": "no-cache"})

    def report(self, name: str) -> Response:
        """Give a report of a stage, in a sandbox of its own."""
        path = self._desk.workspace.reports / name
        if not _REPORT.fullmatch(name) or not path.is_file() or path.is_symlink():
            raise NotFoundError("There is no such report.")
        if not name.endswith(".html"):
            kind = "application/json" if name.endswith(".json") else "application/octet-stream"
            saved = {"content-disposition": f'attachment; filename="{name}"'}
            return Response(path.read_bytes(), media_type=kind, headers=saved)
        headers = {"content-security-policy": _REPORT_POLICY}
        return HTMLResponse(path.read_bytes(), headers=headers)


def language_of(scope: Scope) -> str:
    """Choose the language of a page: what the person chose, else what the browser prefers."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    chosen = re.search(r"besana-language=(en|es)\b", headers.get(b"cookie", ""))
    if chosen:
        return chosen[1]
    preferred = re.search(r"\b(en|es)\b", headers.get(b"accept-language", ""))
    return preferred[1] if preferred else "en"


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    """Read the scripts and styles once; nothing else of the disk can be asked for."""
    found = {}
    for file in (files("besana.web") / "static").iterdir():
        kind = _KINDS.get("." + file.name.rpartition(".")[2])
        if kind:
            found[file.name] = (file.read_bytes(), kind)
    return found


@cache
def _words() -> Markup:
    # Inside a script element only "<" could end it early.
    return Markup(json.dumps(script_phrases(), ensure_ascii=False).replace("<", "\\u003c"))
