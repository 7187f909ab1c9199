"""One trainer of a team on arrays: `python -m tiny_team FOLDER`, RANK and the like as torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import besana.learning  # noqa: F401  # says how threads wait, before torch is loaded

import numpy as np  # isort: skip
import torch
from array_batches import ArrayBatches, Batch, stripes
from safetensors.torch import save_file

from besana.learning.checkpoint import Checkpoints
from besana.learning.recipe import Recipe, Watch
from besana.learning.team import joined
from besana.learning.training import Training
from besana.models.network import Backbone, build

WAYS = ("local-sgd", "delayed", "hybrid")
SAMPLES, BATCH = 40, 8


class PartBatches(ArrayBatches):
    """One trainer's part of each batch."""

    def __init__(self, images, labels, rank, ranks):
        super().__init__(images, labels, BATCH)
        self.part = slice(rank, None, ranks)

    def __iter__(self):
        for batch in super().__iter__():
            yield Batch(*(each[self.part] for each in batch))


class KilledError(Exception):
    """Stands in for a kill -9 between two steps."""


def recipe(way):
    # AdamW's first step is as long where the gradient is rounding only: a small one hides that.
    warmup = 0.5 if way in ("single", "hybrid") else 0.0
    numbers = {"epochs": 2, "learning_rate": 2e-3, "seed": 5, "warmup_share": warmup}
    return Recipe(**numbers, parallel=way, sync_steps=2, staleness=1)


def tiny():
    return build(Backbone("timm/test_resnet", size_px=32), classes=2, seed=1)


def train(way, team, folder, killed_after=0):
    images, labels = stripes(SAMPLES)
    built = tiny()
    training = Training(
        built.network,
        built.preprocessing,
        recipe(way),
        weights=np.ones(2, np.float32),
        samples=SAMPLES,
        team=team if team.ranks > 1 else None,
    )

    def step(number, _loss):
        if number == killed_after:
            raise KilledError

    training.run(
        PartBatches(images, labels, team.rank, team.ranks),
        Checkpoints(folder),
        checkpoint_s=0 if killed_after else 1e9,
        watch=Watch(step=step),
    )
    return training.network.state_dict()


def main(folder):
    torch.set_num_threads(1)
    with joined("cpu") as team:
        for way in WAYS:
            whole = train(way, team, folder / way)
            try:
                train(way, team, folder / f"{way}-killed", killed_after=7)
            except KilledError:
                team.agrees(True, torch.device("cpu"))  # nobody reads before all have written
                again = train(way, team, folder / f"{way}-killed")
            if team.rank == 0:
                save_file({k: v.contiguous() for k, v in whole.items()}, folder / f"{way}.st")
                save_file({k: v.contiguous() for k, v in again.items()}, folder / f"{way}-2.st")


def start(folder, ranks=2, port="29511"):
    """Run a team of this module; all of them must end well."""
    environment = {**os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    here = Path(__file__).parent
    command = [sys.executable, str(here / "tiny_team.py"), str(folder)]
    team = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}) for rank in range(ranks)
    ]
    try:
        assert [trainer.wait(270) for trainer in team] == [0] * ranks
    finally:
        for trainer in team:
            trainer.kill()
            trainer.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
