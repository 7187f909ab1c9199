"""Every route of the pages against every role, and against whoever is not from here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from running import Client, Reply
from served_farm import CLASSES, PASSWORD, SETTINGS, Site, frame_id, make_farm, served

from besana.web.gate import ROLES, Access, RefusedError
from besana.web.passwords import Patience
from besana.web.people import FILE
from besana.web.routes_account import AccountRoutes
from besana.web.routes_pages import PageRoutes
from besana.web.site import build_site, site_routes

SAMPLE = f"frame={quote(frame_id(0))}&region=bed-1"
# What a GET route needs to answer with something.
QUERIES = {
    "/picture/sample": SAMPLE,
    "/picture/full": SAMPLE,
    "/picture/frame": SAMPLE,
    "/api/outline": SAMPLE,
    "/api/history": SAMPLE,
    "/api/beside": SAMPLE,
    "/api/picture": SAMPLE,
    "/api/similar": SAMPLE,
    "/picture/preview": f"{SAMPLE}&lens={quote('{}')}",
    "/api/cameras/frames": "camera=pen",
    "/api/versions/changes": "one=beds/1&other=beds/2",
    "/api/versions/changed": "one=beds/1&other=beds/2&kind=added",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a farm that no test of this module changes for another."""
    with served(make_farm(tmp_path_factory.mktemp("site") / "farm", frames=12)) as found:
        yield found


@pytest.fixture(scope="module")
def clients(site: Site) -> dict[str, Client]:
    return {"": site.client(), **{role: site.client(role) for role in ROLES[1:]}}


def accesses(site: Site) -> list[Access]:
    account = AccountRoutes(site.desk, secure=False)
    routes = site_routes(site.desk, account, PageRoutes(site.desk))
    return [route.access for route in routes]


def sent(client: Client, access: Access, **headers: str | None) -> Reply:
    path = access.path.replace("{name}", "web.js")
    query = QUERIES.get(access.path, "")
    media: dict[str, str | None] = {"Content-Type": access.media[0]}
    return client.send(access.method, f"{path}?{query}", None, headers=media | headers)


def test_every_route_times_every_role(site: Site, clients: dict[str, Client]) -> None:
    wrong = []
    for access in accesses(site):
        for role, client in clients.items():
            if access.path == "/api/sign-out" and role:
                continue  # would end the session; tested below
            status = sent(client, access).status
            reaches = access.role == "public" or (
                role and ROLES.index(role) >= ROLES.index(access.role)
            )
            if (status in (401, 403)) == bool(reaches) or status >= 500:
                wrong.append((access.method, access.path, role, status))
    assert wrong == []


def test_every_change_needs_its_token_and_its_origin(
    site: Site, clients: dict[str, Client]
) -> None:
    foreign: list[dict[str, str | None]] = [
        {"X-Besana-Token": None},
        {"Origin": "http://evil.example"},
        {"Origin": None},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ]
    changes = [access for access in accesses(site) if access.method != "GET"]
    assert len(changes) > 8
    for access in changes:
        for headers in foreign:
            if access.role == "public" and "X-Besana-Token" in headers:
                continue  # nobody is signed in yet, so there is no session to misuse
            assert sent(clients["admin"], access, **headers).status == 403, (access, headers)


def test_every_route_answers_to_its_own_name_only(site: Site, clients: dict[str, Client]) -> None:
    for access in accesses(site):
        reply = sent(clients["admin"], access, Host="evil.example")
        assert reply.status == 421
        assert "script-src 'self'" in reply.headers["content-security-policy"]


def test_there_is_no_route_beside_those_behind_the_gate(site: Site) -> None:
    gate = build_site(site.desk, {"localhost"}, secure=False)
    served_paths = {route.path for route in gate.app.routes}  # type: ignore[attr-defined]
    assert served_paths == {access.path for access in gate.accesses}


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2fpeople.py",
        "/static/web.py",
        "/reports/..%2fcatalog.db",
        "/reports/../web.db",
        "/web.db",
        "/docs",
        "/metrics",
    ],
)
def test_nothing_else_of_the_disk_can_be_read(clients: dict[str, Client], path: str) -> None:
    assert clients["admin"].get(path).status == 404


@pytest.mark.parametrize("frame", ["file:///etc/passwd", "http://169.254.169.254/", "../../x"])
def test_a_picture_is_no_address(clients: dict[str, Client], frame: str) -> None:
    for kind in ("sample", "frame", "full"):
        path = f"/picture/{kind}?frame={quote(frame)}&region=all"
        assert clients["admin"].get(path).status in (404, 422)


def test_pictures_are_encoded_anew(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=2)
    original = workspace.path / "frames" / "0000.jpg"
    comment = b"\xff\xfe\x00\x12<script>GPS 4.7N"
    data = original.read_bytes()
    original.write_bytes(data[:2] + comment + data[2:] + b"<html>")
    with served(workspace) as site:
        client = site.client("viewer")
        for kind in ("sample", "frame", "full"):
            reply = client.get(f"/picture/{kind}?{SAMPLE}")
            assert reply.headers["content-type"] == "image/jpeg"
            assert reply.headers["cache-control"].startswith("private")
            assert reply.body[:2] == b"\xff\xd8"
            assert b"GPS" not in reply.body
            assert b"<html>" not in reply.body


def test_a_picture_that_does_not_decode_is_said_and_the_server_goes_on(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=2)
    (workspace.path / "frames" / "0000.jpg").write_bytes(b"\xff\xd8 nothing")
    with served(workspace) as site:
        client = site.client("viewer")
        assert client.get(f"/picture/frame?{SAMPLE}").status == 422
        assert client.get(f"/picture/sample?{SAMPLE}").status == 200


def test_report_runs_in_a_sandbox(site: Site, clients: dict[str, Client]) -> None:
    (site.desk.workspace.reports / "clean.html").write_text("<h1>Clean</h1>")
    reply = clients["viewer"].get("/reports/clean.html")
    assert reply.status == 200
    assert reply.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in reply.headers["content-security-policy"]


# People


def test_secrets_are_for_their_owner_only(site: Site) -> None:
    assert (site.desk.workspace.path / FILE).stat().st_mode & 0o777 == 0o600


def test_one_time_link_works_once(site: Site) -> None:
    client = site.client()
    token = site.desk.people.one_time_token()
    entry = {"token": token, "name": "Nora", "password": PASSWORD}
    assert client.post("/api/start", {**entry, "token": "x" * 43}).status == 403
    first = client.post("/api/start", entry)
    assert first.status == 200
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "SameSite=strict" in first.headers["set-cookie"]
    assert client.post("/api/start", entry).status == 403
    assert site.desk.people.names("admin").count("Nora") == 1


def test_invitation_gives_its_role_once(site: Site, clients: dict[str, Client]) -> None:
    path = clients["admin"].post("/api/invitations", {"role": "reviewer"}).json["path"]
    entry = {"token": path.partition("#")[2], "name": "Iris", "password": PASSWORD}
    assert site.client().post("/api/join", {**entry, "password": "short"}).status == 422
    assert site.client().post("/api/join", {**entry, "name": " ADMIN "}).status == 409
    assert site.client().post("/api/join", entry).status == 200
    assert site.client().post("/api/join", {**entry, "name": "Second"}).status == 403
    assert "Iris" in site.desk.people.names("reviewer")


def test_signing_out_and_shutting_out_end_sessions(site: Site, clients: dict[str, Client]) -> None:
    leaving = site.client("viewer", "Leaving")
    assert leaving.post("/api/sign-out").status == 200
    assert leaving.get("/api/me").status == 401
    shut = site.client("viewer", "Shut")
    assert clients["admin"].post("/api/people", {"name": "Shut", "active": False}).status == 200
    assert shut.get("/api/me").status == 401
    assert site.client().post("/api/sign-in", {"name": "Shut", "password": PASSWORD}).status == 401


def test_a_role_that_was_taken_away_is_gone_at_once(site: Site, clients: dict[str, Client]) -> None:
    client = site.client("reviewer", "Turning")
    assert client.get("/api/team").status == 200
    change = {"name": "Turning", "role": "viewer"}
    assert clients["admin"].post("/api/people", change).status == 200
    assert client.get("/api/team").status == 403


def test_somebody_stays_admin(tmp_path: Path) -> None:
    with served(make_farm(tmp_path / "farm", frames=2)) as site:
        client = site.client("admin", "Only")
        for change in ({"role": "viewer"}, {"active": False}):
            assert client.post("/api/people", {"name": "Only", **change}).status == 409


def test_guessing_becomes_slow(tmp_path: Path) -> None:
    with served(make_farm(tmp_path / "farm", frames=2)) as site:
        site.client("admin", "Ana")
        guess = {"name": "Ana", "password": "wrong wrong"}
        statuses = [site.client().post("/api/sign-in", guess).status for _ in range(8)]
        assert statuses[:5] == [401] * 5
        assert 429 in statuses[5:]
        reply = site.client().post("/api/sign-in", {"name": "Ana", "password": PASSWORD})
        assert reply.status == 429
        assert int(reply.headers["retry-after"]) >= 1


def test_patience_forgets_the_oldest() -> None:
    patience = Patience(free=0, most=2)
    for key in ("a", "b", "c"):
        patience.failed(key)
    patience.check("a")
    with pytest.raises(RefusedError):
        patience.check("c")


def test_what_happened_cannot_be_changed_afterwards(site: Site) -> None:
    import sqlite3

    with sqlite3.connect(site.desk.workspace.path / FILE) as database:
        for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'x'"):
            with pytest.raises(sqlite3.IntegrityError):
                database.execute(statement)
    database.close()


# Classes


def test_classes_are_added_renamed_merged_and_retired(tmp_path: Path) -> None:
    workspace = make_farm(tmp_path / "farm", frames=6, settings=SETTINGS + "# a comment\n")
    with served(workspace) as site:
        admin = site.client("admin")
        items = admin.post("/api/next", {"tab": "tab00001", "count": 2}).json["items"]
        for key, item, name in zip(("key00001", "key00002"), items, CLASSES, strict=False):
            act = {"act": "label", "key": key, "frame": item["frame"], "region": item["region"]}
            admin.post("/api/acts", {"acts": [{**act, "words": {name: True}}]})

        def change(what: str, name: str, to: str = "") -> int:
            body = {"what": what, "name": name, "to": to}
            return admin.post("/api/classes", body).status

        assert change("add", "lame") == 200
        assert change("add", "lame") == 409
        assert change("rename", "lying", "recumbent") == 200
        assert change("rename", "standing", "recumbent") == 200
        assert change("retire", "lame") == 200
        assert change("retire", "nobody") == 404
        found = {c["name"]: c["labels"] for c in admin.get("/api/classes").json["classes"]}
        assert found == {"recumbent": 2, "empty": 0}
        assert "# a comment" in (workspace.path / "besana.toml").read_text()


def test_the_decoder_has_no_network_and_cannot_write(tmp_path: Path) -> None:
    import os

    with served(make_farm(tmp_path / "farm", frames=2)) as site:
        site.client("viewer").get(f"/picture/sample?{SAMPLE}")
        own = os.readlink("/proc/self/ns/net")
        children = [child._process for child in site.desk.pictures._children if child._process]
        assert children
        for child in children:
            status = Path(f"/proc/{child.pid}/status").read_text()
            limits = Path(f"/proc/{child.pid}/limits").read_text()
            assert "NoNewPrivs:\t1" in status
            assert any(
                line.split()[3:5] == ["0", "0"]
                for line in limits.splitlines()
                if "file size" in line
            )
            if os.geteuid() == 0:
                assert os.readlink(f"/proc/{child.pid}/ns/net") != own


def test_status_tells_what_runs(site: Site, clients: dict[str, Client]) -> None:
    from besana.progress import progress_noted, track

    assert "Running now" not in clients["viewer"].get("/").body.decode()
    with progress_noted(site.desk.workspace.temporary, "clean"), track("clean", 1234):
        page = clients["viewer"].get("/").body.decode()
    assert "Running now" in page
    assert "En marcha" in page
    assert "1,234" in page


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://ana:secret@mlflow.farm:5000/x", 'href="https://mlflow.farm:5000/x"'),
        ("javascript:alert(1)", "mlflow ui"),
        ("", "mlflow ui"),
    ],
)
def test_status_links_to_the_server_of_trainings(tmp_path: Path, address: str, shown: str) -> None:
    settings = SETTINGS + f'[train]\ntracking_uri = "{address}"\n'
    workspace = make_farm(tmp_path / "farm", frames=1, settings=settings)
    (workspace.runs / "probe-1").mkdir()
    (workspace.runs / "probe-1" / "run.json").write_text("{}")
    with served(workspace) as site:
        page = site.client("viewer").get("/").body.decode()
    assert shown in page
    assert "secret" not in page
    assert "javascript:" not in page
