"""`besana serve`: its own API through a real socket."""

import base64
import http.client
import json
import os
import re
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from exported import SIZE, pictures
from servers import CAMERAS, TOKEN, serving_folder, wait_for

from besana.catalog.watch import served
from besana.images.encode import encode_jpeg, encode_png
from besana.images.samples import frame_samples
from besana.serving.client import Client, ServerRefusedError
from besana.serving.edge import wanted_by
from besana.serving.fleet import Running
from besana.serving.pictures import sample_pixels
from besana.serving.pipeline import PipelineRoutes
from besana.serving.routes import openapi
from besana.serving.service import Serving
from besana.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace.create(tmp_path_factory.mktemp("farm") / "farm")


@pytest.fixture(scope="module")
def server(whole_export, workspace):
    with serving_folder(whole_export, catalog=workspace.catalog) as running:
        yield running


@pytest.fixture(scope="module")
def picture():
    return encode_png(pictures(1, size=SIZE)[0])


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    return encode_jpeg(rng.integers(0, 256, (60, 120, 3)).astype(np.uint8), 95)


def b64(data):
    return base64.b64encode(data).decode()


def test_a_picture_is_judged_as_the_model_judges_it(server, model, picture):
    said = server.ask("POST", "/predict", {"images": [b64(picture)]}).json

    (entry,) = said["predictions"]
    (region,) = entry["regions"]
    assert (said["model"], said["version"]) == ("stripes", 1)
    (sample,), _ = frame_samples(
        {"rgb": picture},
        CAMERAS["pen-a"].model_copy(update={"regions": {}}),
        size_px=SIZE,
        quality=90,
    )
    wanted = model.predict(
        sample_pixels(sample, wanted_by(server.service.fleet.champion.model.certificate))[None]
    )[0]
    assert list(region["probabilities"].values()) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert region["class_name"] == model.card.classes[int(wanted.argmax())]


def test_all_ways_of_sending_give_the_same_answer(server, picture):
    as_json = server.ask("POST", "/predict", {"images": [{"b64": b64(picture)}]}).json
    raw = server.ask("POST", "/predict", picture, "image/png").json
    octets = server.ask("POST", "/predict", picture, "application/octet-stream").json
    boundary = "x" * 30
    body = (
        (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode()
        + picture
        + f"\r\n--{boundary}--\r\n".encode()
    )
    form = server.ask("POST", "/predict", body, f"multipart/form-data; boundary={boundary}").json

    answers = [one["predictions"][0]["regions"] for one in (as_json, raw, octets, form)]
    assert all(answer == answers[0] for answer in answers)
    assert form["predictions"][0]["name"] == "a.png"


def test_a_frame_is_cut_into_the_regions_of_its_camera(server, frame):
    said = server.ask("POST", "/predict?camera=pen-a", frame, "image/jpeg").json

    assert [one["region"] for one in said["predictions"][0]["regions"]] == ["bed-1", "bed-2"]


def test_a_camera_of_any_name_is_another_than_none(server, frame):
    cut, whole = (
        server.ask("POST", f"/predict{query}", frame, "image/jpeg").json["predictions"][0]
        for query in ("?camera=camera", "")
    )
    assert [one["region"] for one in cut["regions"]] == ["left"]
    assert whole["regions"][0]["region"] != "left"
    assert whole["regions"][0]["probabilities"] != cut["regions"][0]["probabilities"]


def test_one_bad_picture_costs_only_itself(server, picture):
    images = [b64(picture), b64(picture[:200]), {"b64": b64(picture), "camera": "nobody"}]
    answer = server.ask("POST", "/predict", {"images": images})

    good, cut, unknown = answer.json["predictions"]
    assert answer.status == 200
    assert "regions" in good
    assert (cut["reason"], unknown["reason"]) == ("damaged", "unknown_camera")
    assert unknown["problem"] == "Nobody knows a camera 'nobody'. Known: camera, pen-a."


@pytest.mark.parametrize(
    ("body", "kind", "status", "error"),
    [
        (b"not a picture at all", "image/jpeg", 422, "not_an_image"),
        (b"{", "application/json", 422, "wrong_input"),
        (b"[]", "application/json", 422, "wrong_input"),
        (b'{"images": []}', "application/json", 422, "wrong_input"),
        (b'{"images": ["%%%"]}', "application/json", 422, "wrong_input"),
        (b'{"images": [7]}', "application/json", 422, "wrong_input"),
        (b'{"images": ["http://169.254.169.254/"]}', "application/json", 422, "no_urls"),
        (b'{"images": [{"url": "file:///etc/passwd"}]}', "application/json", 422, "no_urls"),
        (b"x=1", "application/x-www-form-urlencoded", 403, "media"),
        (b"--", "multipart/form-data", 400, "wrong_input"),
        (json.dumps({"images": ["AAAA"] * 65}).encode(), "application/json", 413, "too_many"),
    ],
)
def test_wrong_requests_are_refused_with_a_word(server, body, kind, status, error):
    answer = server.ask("POST", "/predict", body, kind)

    assert (answer.status, answer.json["error"]) == (status, error)


def test_deeply_nested_json_is_refused(server):
    answer = server.ask("POST", "/predict", "[" * 100_000)
    assert answer.status == 422


def test_without_the_token_nothing_is_answered(server, picture):
    for token in ("", "Bearer wrong", "Basic abc"):
        answer = server.ask("POST", "/predict", picture, "image/png", Authorization=token)
        assert answer.status == 401
        assert "Bearer" in answer.json["problem"]
        assert server.ask("GET", "/metrics", Authorization=token).status == 401
    assert server.ask("GET", "/healthz", Authorization="").status == 200


def test_another_host_or_site_is_refused(server, picture):
    assert server.ask("GET", "/healthz", Host="evil.example").status == 421
    answer = server.ask("POST", "/predict", picture, "image/png", Origin="http://evil.example")
    assert answer.status == 403


def test_a_picture_of_too_many_pixels_is_refused_from_its_header(server):
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 65500, 65500, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")
    answer = server.ask("POST", "/predict", bomb, "image/png")
    assert (answer.status, answer.json["error"]) == (422, "too_large")


def test_model_health_and_figures(server, picture):
    server.ask("POST", "/predict", picture, "image/png")
    said = server.ask("GET", "/model").json
    figures = server.ask("GET", "/metrics").data.decode()

    assert said["champion"] == 1
    assert said["versions"][0]["classes"] == ["across", "upright"]
    assert server.ask("GET", "/readyz").json == {"ready": True, "model": "stripes", "version": 1}
    assert re.search(r'besana_requests_total\{route="/predict",status="200"\} \d', figures)
    assert "besana_champion 1.0" in figures


def test_every_route_is_described(server):
    described = {
        (method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods
    }
    from besana.serving.site import Site, service_routes

    pipeline = PipelineRoutes(server.service, Path(), "stripes")
    routes = service_routes(server.service, Site(TOKEN, more=tuple(pipeline.routes())))
    pipeline.close()
    assert described == {(route.access.method, route.access.path) for route in routes}
    public = {
        path
        for path, methods in openapi()["paths"].items()
        if all(one.get("security") == [] for one in methods.values())
    }
    assert public == {route.access.path for route in routes if route.access.role == "public"}
    assert server.ask("GET", "/openapi.json").json == openapi()


def test_predictions_become_rows(server, workspace, frame):
    request = server.ask("POST", "/predict?camera=pen-a", frame, "image/jpeg").json["request"]

    def rows():
        select = sa.select(served).where(served.c.id == f"{request}-0").order_by(served.c.region)
        return workspace.catalog.rows(select)

    wait_for(lambda: len(rows()) == 2)
    first = rows()[0]
    assert (first.region, first.model, first.version, first.role) == (
        "bed-1",
        "stripes",
        1,
        "answer",
    )
    assert set(first.quality) >= {"brightness", "sharpness", "light"}
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_client_asks_and_is_told(server, picture, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(picture)
    with Client(server.url, TOKEN) as client:
        assert client.predict([path, picture])["predictions"][0]["name"] == "a.png"
        assert "regions" in client.predict_one(path)["predictions"][0]
        assert client.model()["champion"] == 1
        with pytest.raises(ServerRefusedError, match="not_an_image"):
            client.predict_one(b"nothing")
    with Client(server.url, "wrong") as client, pytest.raises(ServerRefusedError) as caught:
        client.model()
    assert caught.value.status == 401


def test_the_page_and_nothing_else_of_the_disk(server):
    page = server.ask("GET", "/", Accept="text/html", Authorization="")
    assert b"drop.js" in page.data
    assert server.ask("GET", "/static/drop.js", Authorization="").status == 200
    assert server.ask("GET", "/static/..%2f__init__.py", Authorization="").status == 404
    assert server.ask("GET", "/static/server.py", Authorization="").status == 404


def test_too_many_pictures_at_once_are_refused_at_once(whole_export, picture):
    serving = Serving(running=Running(batch_size=1, most_waiting=1), most_pictures=4)
    with serving_folder(whole_export, serving=serving) as server:
        statuses, retries = [], []

        def ask():
            answer = server.ask("POST", "/predict", {"images": [b64(picture)] * 2})
            statuses.append(answer.status)
            retries.append(answer.headers.get("retry-after"))

        server.ask("POST", "/predict", picture, "image/png")  # the decoder is awake
        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert all(
            (retry is not None) == (status == 429)
            for status, retry in zip(statuses, retries, strict=True)
        )


def test_a_full_server_refuses_before_a_body_has_come(server, picture):
    head = (
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    ).encode()

    def status(connection):
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        return answer.status

    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        running = server.service.serving.running
        with server.service.admitted(running.most_waiting + running.batch_size):
            connection.sendall(head)
            assert status(connection) == 429
        connection.sendall(picture)  # what was on its way
        connection.sendall(head + picture)
        assert status(connection) == 200
    figures = server.ask("GET", "/metrics").data.decode()
    assert "besana_turned_away_requests_total 1.0" in figures


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_whoever_judges_has_the_same_right_to_a_core_as_other_programs(server):
    [batcher] = [one for one in threading.enumerate() if one.name == "batcher"]
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert os.getpriority(os.PRIO_PROCESS, batcher.native_id) == own


def test_a_deadline_that_has_passed_is_said(server, picture):
    answer = server.ask("POST", "/predict", picture, "image/png", x_besana_deadline_ms="0")
    assert (answer.status, answer.json["error"]) == (504, "too_late")


def test_a_drain_finishes_what_runs_and_is_not_ready(whole_export, picture):
    with serving_folder(whole_export, drain_s=2) as server:
        outcomes = []

        def ask():
            while not server.stop.is_set():
                outcomes.append(server.ask("POST", "/predict", picture, "image/png").status)

        server.ask("POST", "/predict", picture, "image/png")  # the decoder is awake
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(outcomes) > 6)
        server.stop.set()
        wait_for(lambda: server.ask("GET", "/readyz").status == 503)
        for thread in threads:
            thread.join()
        server.thread.join()
    assert set(outcomes) == {200}
