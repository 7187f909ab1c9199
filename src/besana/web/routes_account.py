"""Signing in and out, invitations, and who may what."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from besana.config import Settings
from besana.web.desk import Desk
from besana.web.gate import Access, Caller, RefusedError
from besana.web.people import SESSION_S
from besana.web.server import Route

Name = Annotated[str, Field(max_length=200)]
Password = Annotated[str, Field(max_length=1000)]
Token = Annotated[str, Field(max_length=200)]


class Entry(Settings):
    """A token from a link, and who comes with it."""

    token: Token
    name: Name = ""
    password: Password


class SignIn(Settings):
    """Name and password."""

    name: Name
    password: Password


class Invitation(Settings):
    """Whom an admin lets in."""

    role: Name
    name: Name = ""


class Change(Settings):
    """What an admin changes about a person."""

    name: Name
    role: Name | None = None
    active: bool = True


def caller_of(request: Request) -> Caller:
    """Give the caller that the gate let through."""
    caller: Caller | None = request.scope["caller"]
    if caller is None:
        raise RefusedError(401, "signed_out", "Sign in first.")
    return caller


class AccountRoutes:
    """Routes about people.

    Args:
        desk: Whose people.
        secure: Whether the server speaks TLS, so that the cookie stays on it.
    """

    def __init__(self, desk: Desk, *, secure: bool) -> None:
        self._desk, self._secure = desk, secure
        self.cookie = "__Host-besana" if secure else "besana"

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("POST", "/api/start", "public"), self.start),
            Route(Access("POST", "/api/join", "public"), self.join),
            Route(Access("POST", "/api/sign-in", "public"), self.sign_in),
            Route(Access("POST", "/api/sign-out", "viewer"), self.sign_out),
            Route(Access("GET", "/api/me", "viewer"), self.me),
            Route(Access("GET", "/api/people", "admin"), self.people),
            Route(Access("POST", "/api/invitations", "admin"), self.invite),
            Route(Access("POST", "/api/people", "admin"), self.change),
        ]

    def identify(self, headers: dict[str, str], _scope: Any) -> Caller | None:
        """Tell who calls, by the cookie."""
        for part in headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie and value:
                return self._desk.people.caller(value)
        return None

    def start(self, entry: Entry, request: Request) -> Response:
        """Take the link that the server printed."""
        return self._patiently(request, "", lambda: self._desk.people.start(**entry.model_dump()))

    def join(self, entry: Entry, request: Request) -> Response:
        """Take an invitation."""
        return self._patiently(request, "", lambda: self._desk.people.join(**entry.model_dump()))

    def sign_in(self, entry: SignIn, request: Request) -> Response:
        """Begin a session by name and password."""
        name = entry.name
        return self._patiently(
            request, name, lambda: self._desk.people.sign_in(name, entry.password)
        )

    def _patiently(self, request: Request, name: str, enter: Any) -> Response:
        client = request.client.host if request.client else ""
        keys = [f"from {client}", *([f"as {name.casefold()}"] if name else [])]
        self._desk.patience.check(*keys)
        try:
            token = enter()
        except RefusedError as refused:
            if refused.status in (401, 403):
                self._desk.patience.failed(*keys)
            raise
        self._desk.patience.succeeded(*keys)
        answer = JSONResponse({"signed_in": True})
        answer.set_cookie(
            self.cookie,
            token,
            max_age=SESSION_S,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    def sign_out(self, request: Request) -> Response:
        """End the session."""
        self._desk.people.sign_out(request.cookies.get(self.cookie, ""))
        answer = JSONResponse({"signed_in": False})
        answer.delete_cookie(self.cookie, secure=self._secure, httponly=True, samesite="strict")
        return answer

    async def me(self, request: Request) -> dict[str, str]:
        """Tell who is signed in."""
        caller = caller_of(request)
        return {"name": caller.name, "role": caller.role, "token": caller.csrf}

    def people(self) -> dict[str, Any]:
        """List everybody, and what happened lately."""
        return {"people": self._desk.people.listed(), "audit": self._desk.people.audit()}

    def invite(self, invitation: Invitation, request: Request) -> dict[str, str]:
        """Make a link for one person."""
        by = caller_of(request).name
        token = self._desk.people.invite(by, invitation.role, invitation.name)
        return {"path": f"/join#{token}"}

    def change(self, change: Change, request: Request) -> dict[str, bool]:
        """Give somebody another role, or shut them out."""
        by = caller_of(request).name
        self._desk.people.change(by, change.name, role=change.role, active=change.active)
        return {"changed": True}
