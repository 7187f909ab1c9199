"""How many labels a model needs, in the order that besana proposes beside random order.

On the tiles of a real barn: labels until 5 March 2021, tested on the days' pictures of 8 March; and
the other way round, so that the order is not made for one test.
Run: python benchmarks/labelling_order.py DATA, where DATA holds `barn` and `weights`.
"""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from besana.labels.next_to_label import evener, most_telling, picks, spread, uncertainty
from besana.labels.proposals import Fitted, fit
from besana.web.model_loop import FIRST_LABELS

SEEDS = 20
COUNTS = (50, 75, 100, 125, 150)
FIRST, AGAIN = FIRST_LABELS, 25
CLASSES = ("empty", "cow")
SIZE_PX = 224
RESULT = Path(__file__).parent / "results" / "labelling_order.json"


def main(data: Path) -> None:
    """Print and write the share right on the test by number of labels."""
    rows = list(csv.DictReader((data / "barn/tiles.csv").open()))
    vectors = embed([data / "barn/tiles" / row["file"] for row in rows], data / "weights")
    said = np.array([CLASSES.index(row["class"]) for row in rows])
    day = np.array([row["frame"][:10] for row in rows])
    by_day = np.array([row["light"] == "day" for row in rows])
    place = np.argsort(np.lexsort(([row["frame"] for row in rows], [r["camera"] for r in rows])))
    tiles = Tiles(vectors, said, place)
    early, late = day <= "2021-03-05", (day == "2021-03-08") & by_day
    result = {
        "labels until 5 March, tested on 8 March": compare(tiles, early, late),
        "labels of 8 March, tested until 5 March": compare(tiles, late, early & by_day),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


@dataclass(frozen=True)
class Tiles:
    """What is known of all tiles: their vectors, classes and places in time."""

    vectors: np.ndarray[Any, Any]
    said: np.ndarray[Any, Any]
    place: np.ndarray[Any, Any]

    def fit(self, chosen: Any) -> tuple[np.ndarray[Any, Any], Fitted | None]:
        """Learn from some tiles, in the order of time."""
        ordered = np.array(chosen)[np.argsort(self.place[chosen], kind="stable")]
        return ordered, fit(self.vectors[ordered], self.said[ordered], CLASSES)

    def right(self, chosen: Any, test: np.ndarray[Any, Any]) -> float:
        """Learn from some tiles and tell the share right of others."""
        _, fitted = self.fit(chosen)
        if fitted is None:
            return float("nan")
        guess = fitted.proposer.probabilities(self.vectors[test]).argmax(axis=1)
        return float((guess == self.said[test]).mean())


def proposed(tiles: Tiles, pool: np.ndarray[Any, Any], seed: int) -> list[int]:
    """Choose tiles as the pages do, round by round."""
    evened = tiles.vectors * evener(tiles.vectors[pool])
    chosen = [int(pool[i]) for i in spread(evened[pool], FIRST, seed=seed)]
    while len(chosen) < max(COUNTS):
        ordered, fitted = tiles.fit(chosen)
        fresh = np.setdiff1d(pool, ordered)
        if fitted is None:
            chosen += np.random.default_rng(seed).permutation(fresh)[:AGAIN].tolist()
            continue
        unsure = uncertainty(fitted.proposer.probabilities(tiles.vectors[fresh]))
        doubtful = fresh[np.argsort(-unsure, kind="stable")][: 4 * picks(len(fresh))]
        told = most_telling(evened[doubtful], len(fresh), evened[ordered], seed + len(chosen))
        found = [int((fresh if drawn else doubtful)[at]) for drawn, at in told]
        chosen += list(dict.fromkeys(found))[:AGAIN]
    return chosen


def compare(tiles: Tiles, of_pool: Any, of_test: Any) -> dict[str, Any]:
    """Print the share right of both orders, and give it."""
    pool, test = np.flatnonzero(of_pool), np.flatnonzero(of_test)
    orders = {
        "proposed": [proposed(tiles, pool, seed) for seed in range(SEEDS)],
        "random": [np.random.default_rng(seed).permutation(pool).tolist() for seed in range(SEEDS)],
    }
    every = tiles.right(pool, test)
    print(f"all {len(pool)} labels: {every:.1%} right on {len(test)} tiles")
    print("labels  proposed        random   (mean and deviation of", SEEDS, "seeds)")
    result: dict[str, Any] = {"labels": len(pool), "tested": len(test), "seeds": SEEDS}
    result |= {"all_labels": round(every, 4), "proposed": {}, "random": {}}
    for n in COUNTS:
        shown = []
        for name, drawn in orders.items():
            shares = [tiles.right(chosen[:n], test) for chosen in drawn]
            mean, deviation = float(np.mean(shares)), float(np.std(shares))
            result[name][n] = [round(mean, 4), round(deviation, 4)]
            shown.append(f"{mean:.1%} ± {deviation:.1%}")
        print(f"{n:6}  {shown[0]:14}  {shown[1]}")
    return result


def embed(files: list[Path], weights: Path) -> np.ndarray[Any, Any]:
    """Embed pictures with the frozen network whose weights lie beside the data."""
    import timm
    import torch
    from safetensors.torch import load_file

    network = timm.create_model("mobilenetv2_100", pad_type="same", num_classes=1001)
    network.load_state_dict(load_file(weights / "mobilenetv2_100_same_1001.safetensors"))
    network.reset_classifier(0)
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(files), 32):
            batch = [picture(file) for file in files[start : start + 32]]
            tensor = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
            found.append(network(tensor).numpy().astype(np.float16).astype(np.float32))
    return np.concatenate(found)


def picture(file: Path) -> np.ndarray[Any, Any]:
    """Read a tile as the network wants it, (224, 224, 3) float32."""
    pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    return (cv2.resize(pixels, (SIZE_PX, SIZE_PX)).astype(np.float32) - 128) / 128


if __name__ == "__main__":
    main(Path(sys.argv[1]))
