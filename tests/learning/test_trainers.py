"""Several trainers: the same network as one trainer, whoever dies and however many go on."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from besana.errors import ConfigError
from besana.learning.runs import all_runs, open_run
from besana.models.model import load_model
from besana.stages.train import Config, run
from besana.workspace import Workspace
from small_dataset import striped_dataset

pytestmark = pytest.mark.timeout(600)

SMALL = {
    "strategy": "scratch",
    "backbone": "timm/test_resnet",
    "size_px": 32,
    "threads": 2,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "colourless_share": 0.3,
    "blurred_share": 0.3,
}

WEIGHTS = (".weight", ".bias")


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        workspace = Workspace.create(folder / "farm")
        striped_dataset(workspace)
        yield workspace


@pytest.fixture(scope="module")
def single(farm):
    """Weights and history of one trainer."""
    run(farm, Config(**SMALL))
    return ended(farm)


def ended(farm):
    found = open_run(farm)
    return load_model(found.model).network.state_dict(), found.record


def distance(one, other):
    """Mean distance of weights over their mean size; another way of learning comes to 0.1."""
    pairs = [(one[key].double(), other[key].double()) for key in one]
    return sum((a - b).abs().sum() for a, b in pairs) / sum(b.abs().sum() for _, b in pairs)


def check_equal(farm, single):
    weights, record = ended(farm)
    assert distance(weights, single[0]) < 1e-4
    for one, other in zip(record["history"], single[1]["history"], strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)
        assert one["validation"] == pytest.approx(other["validation"], abs=1e-3)
    return record


def start(farm, *more):
    """Begin `besana train` in a process, saving after each step."""
    words = [word for key, value in SMALL.items() for word in (flag(key), str(value))]
    words += ["--checkpoint-minutes", "0", "--quiet", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "besana", "train", str(farm.path), *words],
        stdin=subprocess.DEVNULL,
    )


def flag(key):
    return f"--{key.replace('_', '-')}"


def trainers(process):
    """Find its trainers, each with its rank."""
    found = {}
    for child in psutil.Process(process.pid).children():
        if "besana.learning.trainer_process" in child.cmdline():
            found[int(child.environ()["RANK"])] = child
    return found


def wait_for_step(farm, step, process):
    """Wait until the unfinished run has a checkpoint of that step or a later one."""
    while process.poll() is None:
        for found in all_runs(farm):
            steps = [int(path.stem) for path in found.checkpoints.glob("*.json")]
            if max(steps, default=0) >= step:
                return
        time.sleep(0.05)
    raise AssertionError("it ended before")


def test_a_batch_that_cannot_be_shared_is_refused(farm):
    with pytest.raises(ConfigError, match="3 trainers cannot share a batch of 8"):
        run(farm, Config(**SMALL, parallel="ddp", trainers=3))


def test_a_probe_is_not_for_several_trainers(farm):
    with pytest.raises(ConfigError, match="one trainer"):
        run(farm, Config(backbone="timm/test_resnet", weights="random", parallel="ddp"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "told", "patience"),
    [
        (signal.SIGKILL, "Trainer 1 died (exit status -9). All", 3),
        (signal.SIGSTOP, "Trainer 1 was silent for 30 s. All", 5),
    ],
)
def test_a_lost_trainer_makes_all_begin_again_from_the_last_checkpoint(
    farm, single, sent, told, patience
):
    # Another patience than the default, never reached: runs of their own of the same function.
    process = start(farm, "--parallel", "ddp", "--patience-epochs", str(patience))
    wait_for_step(farm, 3, process)
    trainers(process)[1].send_signal(sent)

    assert process.wait(400) == 0
    record = check_equal(farm, single)
    assert any(told in note for note in record["notes"])


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_another_number_of_trainers(farm, single):
    # Another learning rate of the classifier than none: another run than those above.
    process = start(farm, "--parallel", "ddp", "--head-factor", "1.0")
    wait_for_step(farm, 3, process)
    team = trainers(process)
    process.send_signal(signal.SIGINT)

    assert process.wait(200) == 130
    assert not any(trainer.is_running() for trainer in team.values())
    run(farm, Config(**SMALL, parallel="ddp", head_factor=1.0, trainers=1))
    check_equal(farm, single)


@pytest.mark.slow
def test_trainers_of_torchrun_train_together(farm, single):
    words = [word for key, value in SMALL.items() for word in (flag(key), str(value))]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += ["2", "-m", "besana", "train", str(farm.path), *words, "--quiet"]
    # The same function of the samples, but a run of its own.
    command += ["--parallel", "ddp", "--layer-decay", "1.0", "--patience-epochs", "4"]

    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=400
    )

    assert done.returncode == 0
    record = check_equal(farm, single)
    # 12 steps: the gradient, twice half of it from each of two; and little else.
    learnt = sum(each.numel() for name, each in single[0].items() if name.endswith(WEIGHTS))
    assert record["metrics"]["trainers"] == 2
    assert 1.0 < record["metrics"]["sent_bytes"] / (12 * 2 * 4 * learnt) < 1.1
