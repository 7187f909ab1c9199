"""Three networks that studies of barns and crops use: each is one `--backbone` and no more."""

import numpy as np
import onnxruntime
import pytest
import torch

from besana.learning.losses import loss
from besana.learning.onnx_export import to_fp32
from besana.models.model import Card, Model, probabilities
from besana.models.network import Backbone, build
from besana.models.onnx_model import INPUT

SIZE = 64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/nasnetalarge", "timm/resnet50", "timm/mobilenetv1_100"])
def test_a_backbone_learns_and_is_exported(name):
    built = build(Backbone(name, size_px=SIZE), classes=3, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    inputs = built.preprocessing.normalise(torch.from_numpy(images))
    truth = torch.eye(3)[:2]

    scores = built.network.train()(inputs)
    value = loss(scores, truth, kind="single", weights=torch.ones(3), smoothing=0.1)
    value.backward()

    reached = [parameter.grad is not None for parameter in built.network.parameters()]
    assert scores.shape == (2, 3)
    assert torch.isfinite(value)
    assert all(reached)

    card = Card(
        backbone=name,
        preprocessing=built.preprocessing,
        classes=["a", "b", "c"],
        kind="single",
        dataset={"name": "default", "version": 1, "hash": "abc", "sample_px": SIZE},
    )
    model = Model(built.network.eval(), card, "cpu")
    data = to_fp32(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(None, {INPUT: images})[0]
    with torch.inference_mode():
        expected = probabilities(built.network.eval()(inputs), "single").numpy()
    assert np.abs(found - expected).max() < 1e-4
