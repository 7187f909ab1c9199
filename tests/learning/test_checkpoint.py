"""Checkpoints are whole or skipped with a reason (B42, F20)."""

import json
import os

import pytest
import torch

from besana.errors import StorageError
from besana.learning.checkpoint import Checkpoint, Checkpoints

IDENTITY = {"classes": "abc", "dataset": "def"}


def _checkpoint(step):
    tensors = {"weight": torch.full((3, 2), float(step)), "count": torch.tensor(step)}
    return Checkpoint(step, tensors, {"epoch": step // 2, "loss": 0.1 * step})


@pytest.fixture
def checkpoints(tmp_path):
    kept = Checkpoints(tmp_path, IDENTITY)
    for step in (1, 2, 3):
        kept.save(_checkpoint(step))
    return kept


def _damage(file, how):
    data = file.read_bytes()
    if how == "zero":
        file.write_bytes(b"")
    elif how == "half":
        file.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        middle = len(data) // 2
        file.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    elif how == "missing":
        file.unlink()
    else:
        file.write_bytes(b"\x80\x04cos\nsystem\n.")


def test_newest_is_exactly_what_was_saved(checkpoints):
    found, skipped = checkpoints.newest()

    assert skipped == []
    assert found.step == 3
    assert found.state == {"epoch": 1, "loss": 0.1 * 3}
    assert torch.equal(found.tensors["weight"], torch.full((3, 2), 3.0))
    assert found.tensors["count"].dtype == torch.int64


def test_only_the_last_two_are_kept(checkpoints):
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "000000002.json",
        "000000002.safetensors",
        "000000003.json",
        "000000003.safetensors",
    ]


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("how", ["zero", "half", "flipped", "missing", "pickle"])
def test_damaged_newest_is_skipped_with_a_reason(checkpoints, suffix, how):
    _damage(checkpoints.folder / f"000000003.{suffix}", how)

    found, skipped = checkpoints.newest()

    assert found.step == 2
    assert len(skipped) == 1
    assert skipped[0].startswith("Checkpoint 3 was skipped: ")


@pytest.mark.parametrize("name", sorted(IDENTITY))
def test_checkpoint_of_other_classes_or_data_is_skipped(checkpoints, name):
    other = Checkpoints(checkpoints.folder, {**IDENTITY, name: "other"})

    assert other.newest() == (
        None,
        [f"Checkpoint {step} was skipped: it belongs to another {name}." for step in (3, 2)],
    )


def test_checkpoint_of_a_later_format_is_skipped(checkpoints):
    file = checkpoints.folder / "000000003.json"
    outer = json.loads(file.read_text())
    outer["body"]["format"] = 9
    file.write_text(json.dumps(outer))

    assert checkpoints.newest()[0].step == 2


def test_saving_after_going_back_removes_what_was_skipped(checkpoints):
    _damage(checkpoints.folder / "000000003.safetensors", "half")
    checkpoints.newest()

    checkpoints.save(Checkpoint(2, {"weight": torch.zeros(1)}, {"again": True}))

    found, skipped = checkpoints.newest()
    assert (found.state, skipped) == ({"again": True}, [])


def test_nothing_there_is_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none", IDENTITY).newest() == (None, [])


def test_disk_that_refuses_keeps_the_earlier_ones(checkpoints):
    if os.geteuid() == 0:
        blocked = checkpoints.folder / "000000004.safetensors"
        blocked.mkdir()
    else:
        checkpoints.folder.chmod(0o500)

    with pytest.raises(StorageError):
        checkpoints.save(_checkpoint(4))

    assert checkpoints.newest()[0].step == 3
    checkpoints.folder.chmod(0o700)


def test_clear_leaves_nothing(checkpoints):
    checkpoints.clear()

    assert list(checkpoints.folder.iterdir()) == []
