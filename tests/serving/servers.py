"""Run a real server in a thread, with a real socket, and ask it."""

import contextlib
import http.client
import json
import threading
import time

from besana.images.camera import Camera
from besana.serving.registered import folder_lineups
from besana.serving.service import Service, Serving
from besana.serving.site import Site, build_service, run_service
from besana.web.server import Address, bind

TOKEN = "a-token-for-tests-only"
CAMERAS = {
    "camera": Camera(regions={"left": [0, 0, 60, 60]}),
    "pen-a": Camera(name="pen-a", regions={"bed-1": [0, 0, 60, 60], "bed-2": [60, 0, 120, 60]}),
}


class Asked:
    """An answer: status, headers and JSON."""

    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.data = response.read()

    @property
    def json(self):
        return json.loads(self.data)


class Running:
    """A server that runs."""

    def __init__(self, service, port):
        self.service, self.port = service, port
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method, path, body=None, kind="application/json", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        given = {"Authorization": f"Bearer {TOKEN}", **headers}
        if body is not None:
            given["Content-Type"] = kind
        given = {key.replace("_", "-"): value for key, value in given.items() if value}
        with contextlib.closing(connection):
            connection.request(method, path, body, given)
            return Asked(connection.getresponse())


@contextlib.contextmanager
def running(
    lineups, *, serving=None, catalog=None, cameras=None, site=None, refresh_s=0.0, drain_s=0.0
):
    """Start a server and stop it as a signal would."""
    stop = threading.Event()
    address = Address()
    taken = bind(address)
    port = taken.getsockname()[1]
    service = Service(lineups, cameras or CAMERAS, serving or Serving(), catalog)
    app = build_service(service, site or Site(TOKEN), address.hosts(port))
    thread = threading.Thread(
        target=run_service,
        args=(service, app, taken, address),
        kwargs={"refresh_s": refresh_s, "drain_s": drain_s, "until": stop.is_set},
    )
    thread.start()
    server = Running(service, port)
    server.stop, server.thread = stop, thread
    try:
        wait_for(lambda: server.ask("GET", "/healthz").status == 200)
        yield server
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def serving_folder(folder, **options):
    with running(folder_lineups(str(folder)), **options) as server:
        yield server


def wait_for(holds, seconds=30.0):
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if holds():
                return
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
