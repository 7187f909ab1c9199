"""A tiny model and its export, made once for all tests of serving."""

import numpy as np

from besana.learning.parity import Origin, export_model
from besana.models.model import Card, Model, load_model, save_model
from besana.models.network import Backbone, build
from besana.storage import open_storage

SIZE = 32


def tiny_model(folder, *, seed=3, classes=("across", "upright"), kind="single"):
    """Save and load a network whose answers differ from picture to picture."""
    import torch

    built = build(Backbone("timm/test_resnet", size_px=SIZE), classes=len(classes), seed=seed)
    with torch.no_grad():
        head = built.network.get_classifier()
        head.weight.copy_(
            torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(seed))
        )
    card = Card(
        backbone="timm/test_resnet",
        preprocessing=built.preprocessing,
        classes=list(classes),
        kind=kind,
        dataset={"name": "default", "version": 1, "hash": "abc", "sample_px": SIZE},
    )
    save_model(folder, built.network, card)
    return load_model(folder, device="cpu")


def pictures(count=6, size=40, seed=0):
    """Noise with stripes, larger than the model's input."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size, 3)).astype(np.uint8) for _ in range(count)]


def export(model: Model, folder, precisions=("fp32",), name="stripes", version=1):
    """Export a model into a folder."""
    shown = pictures()
    small = model.card.preprocessing.resize(np.stack(shown))
    return export_model(
        model,
        open_storage(folder),
        Origin(name, version, "a-run"),
        pictures=shown,
        calibration=small,
        precisions=precisions,
    )
