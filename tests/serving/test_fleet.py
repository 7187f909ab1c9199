"""Versions are swapped while requests run, and only when hash and parity hold."""

import shutil
import threading
import time

import numpy as np
import pytest
import sqlalchemy as sa
from exported import SIZE, export, pictures, tiny_model
from servers import running, wait_for

from besana.catalog.watch import served
from besana.commands import promote, rollback, share
from besana.errors import ConfigError, CorruptDataError, NotReadyError
from besana.images.encode import encode_png
from besana.learning.exporting import export_version
from besana.models.model import load_model
from besana.models.onnx_model import load_export
from besana.registry import EXPORT_TAG, open_registry
from besana.serving.batching import Batcher
from besana.serving.errors import DrainingError, TooLateError
from besana.serving.registered import registry_lineups
from besana.serving.shares import Shares, chosen
from besana.serving.turns import Turns
from besana.workspace import Workspace
from small_dataset import striped_dataset


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A workspace with two registered, exported versions; the first is champion."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        workspace = Workspace.create(tmp_path_factory.mktemp("farm") / "farm")
        dataset = striped_dataset(workspace)
        registry = open_registry(workspace)
        for number in (1, 2):
            folder = workspace.path / f"models/stripes/{number}"
            model = tiny_model(folder, seed=number)
            card = model.card.model_copy(
                update={
                    "dataset": {
                        "name": "default",
                        "version": 1,
                        "hash": dataset.hash,
                        "sample_px": SIZE,
                    }
                }
            )
            from besana.models.model import save_model

            save_model(folder, model.network, card)
            version = registry.register("stripes", "", run=f"run-{number}", mlflow_run="", tags={})
            export_version(workspace, registry, version, ("fp32",))
        registry.set_alias(registry.version("stripes", "1"), "champion")
        yield workspace, registry


@pytest.fixture
def fresh(farm):
    """The same, version 1 champion and nothing beside it."""
    workspace, registry = farm
    registry.set_alias(registry.version("stripes", "1"), "champion")
    registry.set_property("stripes", "besana.shares", "")
    return workspace, registry


@pytest.fixture(scope="module")
def picture():
    return encode_png(pictures(1, size=SIZE)[0])


def test_export_is_done_once_and_registered(fresh):
    workspace, registry = fresh
    version = registry.version("stripes", "1")
    before = (workspace.path / "models/stripes/1/onnx/export.json").read_bytes()

    certificate = export_version(workspace, registry, version, ("fp32",))

    assert (certificate.model, certificate.version, certificate.run) == ("stripes", 1, "run-1")
    assert (workspace.path / "models/stripes/1/onnx/export.json").read_bytes() == before
    assert len(version.tags[EXPORT_TAG]) == 64


def test_a_promoted_version_is_loaded_without_a_failed_request(fresh, picture):
    workspace, registry = fresh
    lineups = registry_lineups(workspace, registry, "stripes")
    with running(lineups, refresh_s=0.1) as server:
        outcomes, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                answer = server.ask("POST", "/predict", picture, "image/png")
                outcomes.append((answer.status, answer.json.get("version")))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: (200, 1) in outcomes)
            promote.run(workspace, promote.Config(model="stripes", version="2"))
            wait_for(lambda: (200, 2) in outcomes)
            rollback.run(workspace, rollback.Config(model="stripes"))
            wait_for(lambda: outcomes[-1] == (200, 1))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(outcomes) == {(200, 1), (200, 2)}


def test_promoting_exports_where_the_champion_is_exported(fresh):
    workspace, registry = fresh
    shutil.copytree(
        workspace.path / "models/stripes/2",
        workspace.path / "models/stripes/3",
        ignore=shutil.ignore_patterns("onnx"),
    )
    bare = registry.register("stripes", "", run="run-3", mlflow_run="", tags={})
    assert (bare.number, bare.tags.get(EXPORT_TAG)) == (3, None)

    promote.run(workspace, promote.Config(model="stripes", version="3"))

    assert registry.champion("stripes").number == 3
    assert registry_lineups(workspace, registry, "stripes")().champion.number == 3
    assert load_export(workspace.path / "models/stripes/3/onnx").certificate.run == "run-3"


def test_a_version_that_was_tampered_with_is_refused_and_the_old_one_serves(fresh, picture):
    workspace, registry = fresh
    graph = workspace.path / "models/stripes/2/onnx/model-fp32.onnx"
    good = graph.read_bytes()
    with running(registry_lineups(workspace, registry, "stripes"), refresh_s=0.1) as server:
        try:
            graph.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
            promote.run(workspace, promote.Config(model="stripes", version="2"))
            wait_for(
                lambda: b"besana_refused_models_total 1.0" in server.ask("GET", "/metrics").data
            )
            ready = server.ask("GET", "/readyz")
            assert (ready.status, ready.json["version"]) == (200, 1)
            assert server.ask("POST", "/predict", picture, "image/png").json["version"] == 1
        finally:
            graph.write_bytes(good)


def test_another_export_than_the_registered_one_is_refused(fresh, tmp_path):
    workspace, registry = fresh
    folder = workspace.path / "models/stripes/2/onnx"
    shutil.copytree(folder, tmp_path / "good")
    try:
        export(tiny_model(tmp_path / "other", seed=9), folder, name="stripes", version=2)
        lineup = registry_lineups(workspace, registry, "stripes")()
        registered = registry.version("stripes", "2").tags[EXPORT_TAG]
        assert lineup.champion.number == 1
        with pytest.raises(CorruptDataError, match="not the one that was registered"):
            load_export(folder, sha256=registered)
    finally:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "good", folder)


def test_shares_are_sticky_and_shadows_judge_beside(fresh, picture):
    workspace, registry = fresh
    share.run(workspace, share.Config(model="stripes", version="2", shadow=True))
    lineups = registry_lineups(workspace, registry, "stripes")
    with running(lineups, catalog=workspace.catalog, refresh_s=0.1) as server:

        def ask():
            return server.ask("POST", "/predict", picture, "image/png").json

        request = ask()["request"]

        def roles():
            select = sa.select(served).where(served.c.id == f"{request}-0")
            return {(row.version, row.role) for row in workspace.catalog.rows(select)}

        wait_for(lambda: len(roles()) == 2)
        assert roles() == {(1, "answer"), (2, "shadow")}
        share.run(workspace, share.Config(model="stripes", version="2", percent=100))
        wait_for(lambda: ask()["version"] == 2)
        assert {ask()["version"] for _ in range(5)} == {2}
        share.run(workspace, share.Config(model="stripes", version="2"))
        wait_for(lambda: ask()["version"] == 1)
        assert {ask()["version"] for _ in range(5)} == {1}


def test_cameras_keep_their_version_and_shares_are_what_they_say():
    versions = [chosen({2: 10.0, 3: 30.0}, f"camera-{n}") for n in range(4000)]

    assert versions == [chosen({2: 10.0, 3: 30.0}, f"camera-{n}") for n in range(4000)]
    assert versions.count(2) / 4000 == pytest.approx(0.1, abs=0.02)
    assert versions.count(3) / 4000 == pytest.approx(0.3, abs=0.03)
    more = [chosen({2: 20.0}, f"camera-{n}") for n in range(4000)]
    less = [chosen({2: 10.0}, f"camera-{n}") for n in range(4000)]
    assert all(b == 2 for a, b in zip(less, more, strict=True) if a == 2)


@pytest.mark.parametrize("percent", [{2: 60.0, 3: 50.0}, {2: -1.0}, {2: 101.0}])
def test_shares_that_do_not_add_up_are_refused(percent):
    with pytest.raises(ValueError, match="share"):
        Shares(percent=percent)


def test_shares_of_the_champion_or_of_nobody_are_refused(fresh):
    workspace, registry = fresh
    with pytest.raises(NotReadyError, match="champion gets"):
        share.run(workspace, share.Config(model="stripes", version="1", percent=10))
    plain = registry.register("plain", "", run="r", mlflow_run="", tags={})
    assert plain.number == 1
    with pytest.raises(NotReadyError, match="not exported"):
        share.run(workspace, share.Config(model="plain", version="1", percent=10))
    share.run(workspace, share.Config(model="stripes", version="2", percent=60))
    with pytest.raises(ConfigError, match="shares"):
        Shares(percent={2: 60.0}).changed(3, percent=50, shadow=False)


def test_rollback_goes_back_one_champion_at_a_time(fresh):
    _, registry = fresh
    registry.register("back", "", run="a", mlflow_run="", tags={})
    registry.register("back", "", run="b", mlflow_run="", tags={})
    with pytest.raises(NotReadyError, match="no champion before"):
        registry.roll_back("back")
    for number in "121":
        registry.set_alias(registry.version("back", number), "champion")
    assert registry.champions("back") == [1, 2, 1]
    assert registry.roll_back("back").number == 2
    assert registry.roll_back("back").number == 1
    assert registry.champion("back").number == 1
    with pytest.raises(NotReadyError):
        registry.roll_back("back")


def test_no_champion_or_no_export_says_what_to_do(fresh):
    workspace, registry = fresh
    with pytest.raises(NotReadyError, match="besana register"):
        registry_lineups(workspace, registry, "nobody")()
    version = registry.register("bare", "", run="r", mlflow_run="", tags={})
    registry.set_alias(version, "champion")
    with pytest.raises(NotReadyError, match="besana export"):
        registry_lineups(workspace, registry, "bare")()


def test_a_batcher_judges_together_what_comes_together(whole_export, model):
    turns = Turns(1, patience_s=60)
    batcher = Batcher(load_export(whole_export), batch_size=8, turns=turns)
    images, soon = np.stack(pictures(6, size=SIZE)), time.monotonic() + 30
    with turns.taken():
        answers = [batcher.submit(images[n : n + 2], soon) for n in (0, 2, 4)]
        late = batcher.submit(images[:1], time.monotonic())
    judged = [answer.result(30) for answer in answers]

    assert {one.batch for one in judged} == {6}
    together = np.concatenate([one.probability for one in judged])
    assert together == pytest.approx(model.predict(images), abs=1e-5)
    with pytest.raises(TooLateError):
        late.result(30)
    large = batcher.submit(np.repeat(images, 4, axis=0), soon)
    assert len(large.result(30).probability) == 24
    batcher.close()
    with pytest.raises(DrainingError):
        batcher.submit(images[:1], soon)


def test_judges_with_nothing_to_do_share_the_pictures_of_a_request(whole_export, model):
    batcher = Batcher(load_export(whole_export), batch_size=8, turns=Turns(3), judges=3)
    images = np.stack(pictures(7, size=SIZE))
    wait_for(lambda: batcher._idle == 3)
    judged = batcher.submit(images, time.monotonic() + 30).result(30)
    assert judged.batch < 7
    assert judged.probability == pytest.approx(model.predict(images), abs=1e-5)
    wrong = batcher.submit(np.zeros((3, 5, 5, 3), np.uint8), time.monotonic() + 30)
    assert "images" in str(wrong.exception(30))
    batcher.close()


def test_several_judges_answer_everybody(whole_export, model):
    batcher = Batcher(load_export(whole_export), batch_size=4, turns=Turns(2), judges=2)
    images, soon = np.stack(pictures(6, size=SIZE)), time.monotonic() + 60
    wanted = model.predict(images)
    numbers = np.random.default_rng(0).integers(0, 7, (300, 2))
    parts = [slice(*sorted(pair)) for pair in numbers if pair[0] != pair[1]]
    answers = [batcher.submit(images[part], soon) for part in parts]
    for part, answer in zip(parts, answers, strict=True):
        assert answer.result(60).probability == pytest.approx(wanted[part], abs=1e-5)
    batcher.close()


def test_pytorch_and_the_server_say_the_same(fresh, picture):
    workspace, registry = fresh
    with running(registry_lineups(workspace, registry, "stripes")) as server:
        said = server.ask(
            "POST",
            "/v2/models/stripes/infer",
            {
                "inputs": [
                    {
                        "name": "images",
                        "datatype": "UINT8",
                        "shape": [1, SIZE, SIZE, 3],
                        "data": pictures(1, size=SIZE)[0].ravel().tolist(),
                    }
                ]
            },
        ).json
    wanted = load_model(workspace.path / "models/stripes/1").predict(
        pictures(1, size=SIZE)[0][None]
    )
    assert said["outputs"][0]["data"] == pytest.approx(wanted.ravel().tolist(), abs=1e-5)
