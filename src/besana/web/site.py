"""All routes of the pages behind one gate."""

from __future__ import annotations

from collections.abc import Sequence

from besana.web.desk import Desk
from besana.web.gate import Gate
from besana.web.routes_account import AccountRoutes
from besana.web.routes_classes import ClassRoutes
from besana.web.routes_data import DataRoutes
from besana.web.routes_label import LabelRoutes
from besana.web.routes_many import ManyRoutes
from besana.web.routes_pages import PageRoutes
from besana.web.routes_pictures import PictureRoutes
from besana.web.routes_regions import RegionRoutes
from besana.web.routes_team import TeamRoutes
from besana.web.server import Route, build_app


def site_routes(desk: Desk, account: AccountRoutes, pages: PageRoutes) -> Sequence[Route]:
    """List every route of the site."""
    rooms = (
        account,
        LabelRoutes(desk),
        ManyRoutes(desk),
        TeamRoutes(desk),
        ClassRoutes(desk),
        PictureRoutes(desk),
        DataRoutes(desk),
        RegionRoutes(desk),
        pages,
    )
    return [route for room in rooms for route in room.routes()]


def build_site(desk: Desk, hosts: set[str], *, secure: bool) -> Gate:
    """Make the application of the pages.

    Args:
        desk: What it serves.
        hosts: From `Address.hosts`.
        secure: Whether it is reached by TLS.
    """
    account, pages = AccountRoutes(desk, secure=secure), PageRoutes(desk)
    return build_app(
        site_routes(desk, account, pages),
        hosts=hosts,
        identify=account.identify,
        sign_in="/sign-in",
        error_page=pages.error_page,
    )
