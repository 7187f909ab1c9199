"""What `monitor` finds on a small farm: nothing when nothing changed, and what did when it did."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading

import numpy as np
import pytest
import sqlalchemy as sa

from besana.catalog.watch import drift
from besana.cli import main
from besana.commands.status import read_status
from besana.errors import ConfigError
from besana.stages import monitor, predict
from besana.watching.reference import region_share
from besana.watching.spoilt import spoil, spoilings
from watched import add_days, add_labels


def watch(farm, **settings):
    predict.run(farm, predict.Config(threads=1))
    return monitor.run(farm, monitor.Config(threads=1, **settings))


def rows(farm, **where):
    select = sa.select(drift).order_by(drift.c.window_end, drift.c.region, drift.c.signal)
    for name, value in where.items():
        select = select.where(drift.c[name] == value)
    return farm.catalog.rows(select)


def test_days_of_training_are_not_looked_at(farm):
    report = watch(farm)
    assert (report.facts["looks"], report.facts["changes"]) == (0, 0)
    assert rows(farm) == []


def test_days_like_those_of_training_are_as_usual(farm):
    add_days(farm, 9, 3, labelled=False)
    report = watch(farm)
    assert report.facts["looks"] == 9
    assert report.facts["changes"] == 0
    assert {row.state for row in rows(farm)} == {"ok"}
    estimate = rows(farm, signal="estimated_accuracy")[-1]
    assert estimate.low <= estimate.expected <= estimate.high + 0.05
    assert "pen as usual" in next(s.done for s in read_status(farm) if s.stage == "monitor")


def test_looking_twice_finds_nothing_to_do(farm):
    add_days(farm, 9, 2, labelled=False)
    watch(farm)
    before = rows(farm)
    again = watch(farm)
    assert (again.facts["looks"], again.counts_in) == (0, 0)
    assert rows(farm) == before


def test_other_looks_are_found_within_a_day_and_told_once(farm):
    add_days(farm, 9, 1, labelled=False)
    add_days(farm, 10, 1, labelled=False, ground=(0, 60), stripe=110, brightness=45.0)
    report = watch(farm)
    changed = {(row.region, row.signal) for row in rows(farm, state="drift")}
    assert {("", "brightness"), ("", "appearance")} <= changed
    assert report.facts["changes"] > 0
    assert report.facts["new_changes"] == len(changed)
    assert watch(farm).facts["new_changes"] == 0
    page = report.page.read_text()
    assert "Less light" in page
    assert "Menos luz" in page
    text = (farm.reports / "monitor.prom").read_text()
    assert 'besana_drift{farm="farm",camera="pen",region="",signal="brightness"} 1' in text


@pytest.mark.slow
def test_what_spoilt_pictures_teach_is_learnt_anew_where_it_does_not_fit(farm):
    add_days(farm, 9, 1, labelled=False)
    watch(farm)
    taught = farm.models.below("classifier/1").read
    learnt = json.loads(taught("watch.json"))
    assert len(learnt["places"]) == len(learnt["pulls"]) == len(spoilings())
    add_days(farm, 10, 1, labelled=False)
    watch(farm, embeddings=False)
    assert len(json.loads(taught("watch.json"))["places"][0]) == 1


def test_regions_are_a_share_of_their_frame(farm):
    add_days(farm, 9, 1, labelled=False)
    assert region_share(farm, "pen") == 0.5


def test_a_camera_that_was_knocked_shows_what_lies_beside():
    images = np.repeat(np.arange(1, 9, dtype=np.uint8), 50 * 100).reshape(8, 50, 100, 1)
    [way] = [way for way in spoilings() if way.moved == -0.16]
    moved = spoil(images, way)
    assert way.moved_share == pytest.approx(0.16 * 1.36**0.5)
    assert (moved[:, :, :84] == images[:, :, :84]).all()
    assert (moved[:, :, 84:] == moved[:, :1, 84:85]).all()
    assert sorted(moved[:, 0, 90, 0]) == list(range(1, 9))
    assert (moved[:, 0, 90, 0] != images[:, 0, 0, 0]).any()


def test_the_first_way_to_spoil_spoils_nothing():
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    first, *others = spoilings()
    assert (spoil(images, first) == images).all()
    assert all((spoil(images, way) != images).any() for way in others if not way.moved)


def test_labels_measure_what_was_estimated(farm):
    truth = add_days(farm, 9, 2, labelled=False)
    add_labels(farm, dict(list(truth.items())[:60]))
    watch(farm)
    measured = rows(farm, signal="measured_accuracy")
    assert measured
    assert max(row.samples for row in measured) > 20
    assert all(row.value > 0.8 and row.state == "ok" for row in measured)


@pytest.mark.slow
def test_wrong_labels_are_a_loss_of_accuracy(farm):
    truth = add_days(farm, 9, 2, labelled=False)
    swapped = {"across": "upright", "upright": "across"}
    add_labels(farm, {key: swapped[name] for key, name in truth.items()})
    watch(farm)
    assert rows(farm, signal="measured_accuracy")[-1].state == "drift"


def test_the_exit_status_tells_cron(farm, capsys):
    add_days(farm, 9, 2, labelled=False, brightness=20.0)
    predict.run(farm, predict.Config(threads=1))
    path = str(farm.path)
    farm.catalog.close()
    with pytest.raises(SystemExit) as caught:
        main(["monitor", path, "--threads", "1"])
    assert caught.value.code == 4


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.taken.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args):
        pass


class _Mail(socketserver.StreamRequestHandler):
    def handle(self):
        lines, inside = [], False
        self.wfile.write(b"220 here\r\n")
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            if inside:
                inside = line != "."
                lines.append(line)
                if not inside:
                    self.wfile.write(b"250 taken\r\n")
            elif line.upper() == "DATA":
                inside = True
                self.wfile.write(b"354 go on\r\n")
            elif line.upper() == "QUIT":
                self.wfile.write(b"221 bye\r\n")
                break
            else:
                self.wfile.write(b"250 ok\r\n")
        self.server.taken.append("\n".join(lines))


@pytest.fixture
def serve():
    servers = []

    def start(handler):
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        server.taken, server.status = [], 200
        servers.append((server, threading.Thread(target=server.serve_forever, daemon=True)))
        servers[-1][1].start()
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def test_alerts_reach_a_webhook_and_a_mailbox(farm, serve):
    add_days(farm, 9, 2, labelled=False, brightness=20.0)
    hook, mail = serve(_Hook), serve(_Mail)
    watch(
        farm,
        webhook=f"http://127.0.0.1:{hook.server_address[1]}/x",
        mail_to=["ana@example.org"],
        mail_from="besana@example.org",
        smtp_server=f"127.0.0.1:{mail.server_address[1]}",
        smtp_security="none",
    )
    [message] = hook.taken
    assert "brightness" in [change["signal"] for change in message["changes"]]
    assert message["farm"] == "farm"
    assert "Less light" in message["text"]
    [text] = mail.taken
    assert "To: ana@example.org" in text
    assert "brightness" in text


@pytest.mark.slow
def test_an_alert_that_nobody_took_is_sent_again(farm, serve):
    add_days(farm, 9, 2, labelled=False, brightness=20.0)
    hook = serve(_Hook)
    url = f"http://127.0.0.1:{hook.server_address[1]}/x"
    hook.status = 500
    report = watch(farm, webhook=url)
    assert report.facts["alerts_refused"] == 1
    hook.status = 200
    watch(farm, webhook=url)
    watch(farm, webhook=url)
    assert len(hook.taken) == 2
    assert hook.taken[0] == hook.taken[1]


def test_mail_without_a_server_is_refused(farm):
    with pytest.raises(ConfigError, match="mail_from"):
        monitor.run(farm, monitor.Config(mail_to=["ana@example.org"]))
