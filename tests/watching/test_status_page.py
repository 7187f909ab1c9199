"""What the first page of `besana web` says of the watch and of a retraining."""

from __future__ import annotations

from contextlib import closing

import pytest

from besana.stages import monitor, predict
from besana.watching.retraining import ENDS, STEPS, advance, last_steps, start
from besana.watching.state import watched_cameras
from besana.web.desk import Desk, DeskSettings
from besana.web.language import known
from besana.web.render import render
from besana.web.status import STEP_WORDS, status_facts
from watched import add_days


def shown(farm, language):
    """The first page as `besana web` makes it, without a server."""
    with closing(Desk(farm, DeskSettings())) as desk:
        return render(
            "status.html",
            title=["Farm", "Granja"],
            workspace="farm",
            caller=None,
            rooms=[],
            words="{}",
            page="status",
            script="",
            language=language,
            **status_facts(desk),
        )


def test_cameras_and_steps_stand_on_the_page(farm):
    assert watched_cameras(farm.catalog) == []
    assert last_steps(farm.catalog) is None
    assert "Watched cameras" not in shown(farm, "en")
    add_days(farm, 9, 2, labelled=False, brightness=20.0)
    predict.run(farm, predict.Config(threads=1))
    monitor.run(farm, monitor.Config(threads=1, pictures=0))
    one = start(farm.catalog, "classifier", "drift: pen", {})
    advance(farm.catalog, one, "train")

    [camera] = watched_cameras(farm.catalog)
    assert (camera.name, camera.model) == ("pen", "classifier/1")
    assert camera.changes > 0
    assert 0.5 < camera.accuracy <= 1
    title, steps = last_steps(farm.catalog)
    assert title == "1 · classifier · drift: pen"
    assert [step for step, done in steps if done] == ["labels", "split"]
    page = shown(farm, "es")
    assert "Cámaras vigiladas" in page
    assert "Conjunto de datos fijado" in page
    advance(farm.catalog, one, "kept")
    assert last_steps(farm.catalog)[1][-1] == ("kept", True)


@pytest.mark.parametrize("step", [*STEPS, *ENDS])
def test_every_step_has_words_in_both_languages(step):
    assert known(STEP_WORDS[step])
