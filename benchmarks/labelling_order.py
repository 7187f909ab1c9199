"""How many labels a model needs, in the order that besana proposes beside random order.

On the tiles of a real barn: labels until 5 March 2021, tested on the days' pictures of 8 March.
Run: python benchmarks/labelling_order.py DATA, where DATA holds `barn` and `weights`.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from besana.labels.next_to_label import most_telling, picks, spread, uncertainty
from besana.labels.proposals import fit

SEEDS = 6
COUNTS = (50, 75, 100, 125, 150)
FIRST, AGAIN = 50, 25
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
    pool = np.flatnonzero(day <= "2021-03-05")
    test = np.flatnonzero((day == "2021-03-08") & by_day)

    def right(chosen: Any) -> float:
        ordered = np.array(chosen)[np.argsort(place[chosen], kind="stable")]
        fitted = fit(vectors[ordered], said[ordered], CLASSES)
        if fitted is None:
            return float("nan")
        guess = fitted.proposer.probabilities(vectors[test]).argmax(axis=1)
        return float((guess == said[test]).mean())

    def proposed(seed: int) -> list[int]:
        chosen = [int(pool[i]) for i in spread(vectors[pool], FIRST, seed=seed)]
        while len(chosen) < max(COUNTS):
            ordered = np.array(chosen)[np.argsort(place[chosen], kind="stable")]
            fresh = np.setdiff1d(pool, ordered)
            fitted = fit(vectors[ordered], said[ordered], CLASSES)
            if fitted is None:
                chosen += np.random.default_rng(seed).permutation(fresh)[:AGAIN].tolist()
                continue
            unsure = uncertainty(fitted.proposer.probabilities(vectors[fresh]))
            doubtful = fresh[np.argsort(-unsure, kind="stable")][: 4 * picks(len(fresh))]
            told = most_telling(vectors[doubtful], len(fresh), vectors[ordered], seed)
            found = [int((fresh if drawn else doubtful)[at]) for drawn, at in told]
            chosen += list(dict.fromkeys(found))[:AGAIN]
        return chosen

    orders = {
        "proposed": [proposed(seed) for seed in range(SEEDS)],
        "random": [np.random.default_rng(seed).permutation(pool).tolist() for seed in range(SEEDS)],
    }
    curves = {
        name: {n: [right(chosen[:n]) for chosen in drawn] for n in COUNTS}
        for name, drawn in orders.items()
    }
    result = {
        "labels": len(pool),
        "tested": len(test),
        "seeds": SEEDS,
        "all_labels": round(right(pool), 4),
        **{
            name: {
                n: [round(float(np.mean(v)), 4), round(float(np.std(v)), 4)] for n, v in c.items()
            }
            for name, c in curves.items()
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"all {len(pool)} labels: {result['all_labels']:.1%} right on {len(test)} tiles")
    print("labels  proposed        random   (mean and deviation of", SEEDS, "seeds)")
    for n in COUNTS:
        a, b = result["proposed"][n], result["random"][n]
        print(f"{n:6}  {a[0]:.1%} ± {a[1]:.1%}  {b[0]:.1%} ± {b[1]:.1%}")


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
