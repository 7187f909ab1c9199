"""Classes: added, described, shown by examples, renamed, merged, retired."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request

from besana.config import Settings
from besana.web.desk import Desk
from besana.web.gate import Access
from besana.web.routes_account import caller_of
from besana.web.routes_label import Id
from besana.web.server import Route

ClassName = Annotated[str, Field(min_length=1, max_length=200)]


class ClassChange(Settings):
    """What an admin does with a class."""

    what: Literal["add", "retire", "rename"]
    name: ClassName
    to: Annotated[str, Field(max_length=200)] = ""


class Criteria(Settings):
    """By what a class is known."""

    name: ClassName
    criteria: Annotated[str, Field(max_length=4000)]


class Example(Settings):
    """A picture that shows what a class is."""

    name: ClassName
    frame: Id
    region: Id
    shown: bool = True


class ClassRoutes:
    """Routes about classes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """List them."""
        return [
            Route(Access("GET", "/api/classes", "labeller"), self.classes),
            Route(Access("POST", "/api/classes", "admin"), self.change),
            Route(Access("POST", "/api/criteria", "reviewer"), self.describe),
            Route(Access("POST", "/api/examples", "reviewer"), self.show),
        ]

    def classes(self) -> dict[str, Any]:
        """List the classes with keys, criteria and examples."""
        return {"classes": self._desk.classes.listed(), "multi": self._desk.is_multi()}

    def change(self, change: ClassChange, request: Request) -> dict[str, Any]:
        """Add, retire, rename or merge; labels move only when a class is renamed."""
        book, moved = self._desk.classes, 0
        if change.what == "add":
            book.add(change.name)
        elif change.what == "retire":
            book.retire(change.name)
        else:
            moved = book.rename(change.name, change.to)
        about = f"{change.what} {change.name} {change.to}".strip()
        self._desk.people.note(caller_of(request).name, "class", about)
        return {"moved": moved}

    def describe(self, criteria: Criteria) -> dict[str, bool]:
        """Say by what a class is known."""
        self._desk.classes.describe(criteria.name, criteria.criteria)
        return {"changed": True}

    def show(self, example: Example) -> dict[str, bool]:
        """Make a sample an example of a class, or no longer."""
        sample = (example.frame, example.region)
        self._desk.classes.show(example.name, sample, shown=example.shown)
        return {"changed": True}
