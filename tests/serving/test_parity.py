"""Exports answer as PyTorch does, and every mistake of a port is found before it serves."""

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch
from exported import SIZE, pictures, tiny_model

from besana.errors import CorruptDataError, NotReadyError
from besana.learning.onnx_export import Whole, graph_bytes, to_fp32
from besana.learning.parity import Origin, export_model
from besana.models.golden import read_golden, resize_all
from besana.models.model import Model
from besana.models.network import Backbone, build
from besana.models.onnx_model import (
    CERTIFICATE,
    Certificate,
    OnnxModel,
    load_export,
    read_certificate,
)
from besana.storage import open_storage


def replaced(folder, model, *, certificate=None):
    """Put another graph in place of fp32, with a certificate that names its hash and size."""
    certificate = certificate or read_certificate(folder)
    data = graph_bytes(to_fp32(model), certificate.notes())
    (folder / "model-fp32.onnx").write_bytes(data)
    values = certificate.model_dump(mode="json")
    values["exports"]["fp32"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / CERTIFICATE).write_text(json.dumps(values))


def copy_of(model, **preprocessing):
    """A model with the same weights and, if asked for, another preprocessing."""
    network = build(Backbone(model.card.backbone, size_px=SIZE), classes=2).network
    network.load_state_dict(model.network.state_dict())
    card = model.card.model_copy(
        update={"preprocessing": model.card.preprocessing.model_copy(update=preprocessing)}
    )
    return Model(network, card, "cpu")


def test_export_answers_as_pytorch_does(model, whole_export):
    shown = np.stack(pictures(9, size=45, seed=7))
    loaded = load_export(whole_export)

    resized = resize_all(shown, SIZE)
    assert loaded.predict(shown) == pytest.approx(model.predict(resized), abs=1e-5)
    assert loaded.predict(shown) == pytest.approx(model.predict(shown), abs=0.05)
    assert loaded.predict(shown[:0]).shape == (0, 2)
    _, embedding = loaded.run(resized)
    with torch.inference_mode():
        wanted = Whole(model.network, model.card)(torch.from_numpy(resized))[2]
    assert embedding == pytest.approx(wanted.numpy(), abs=1e-4)


def test_certificate_says_what_was_measured(model, whole_export):
    certificate = read_certificate(whole_export)

    assert set(certificate.exports) == {"fp32", "fp16", "int8"}
    assert certificate.exports["fp32"].top1_agreement_share == 1
    assert certificate.exports["fp32"].probability_gap < 1e-5
    sizes = {name: one.size_bytes for name, one in certificate.exports.items()}
    assert sizes["fp32"] > sizes["fp16"] > sizes["int8"]
    assert certificate.weights_sha256 == model.card.weights_sha256
    assert min(certificate.mutations.values()) > 0.02
    notes = onnx.load(whole_export / "model-int8.onnx").metadata_props[0]
    assert json.loads(notes.value)["classes"] == ["across", "upright"]
    assert json.loads(notes.value)["dataset"]["hash"] == "abc"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_exports_load_where_they_hold(whole_export, precision):
    assert read_certificate(whole_export).exports[precision].holds
    loaded = load_export(whole_export, precision=precision)
    assert loaded.parity.probability_gap <= 0.05


def test_swapped_bands_are_found(model, folder):
    mutated = copy_of(model)
    first = next(m for m in mutated.network.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(first.weight.flip(1))
    replaced(folder, mutated)

    with pytest.raises(CorruptDataError, match="answers differently"):
        load_export(folder)


@pytest.mark.slow
def test_another_normalisation_is_found(model, folder):
    replaced(folder, copy_of(model, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))

    with pytest.raises(CorruptDataError, match="answers differently"):
        load_export(folder)


@pytest.mark.slow
def test_another_order_of_classes_is_found(model, folder):
    mutated = copy_of(model)
    head = mutated.network.get_classifier()
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    replaced(folder, mutated)

    with pytest.raises(CorruptDataError, match="answers differently"):
        load_export(folder)


def test_class_names_in_another_order_are_found(folder):
    values = json.loads((folder / CERTIFICATE).read_text())
    values["classes"].reverse()
    (folder / CERTIFICATE).write_text(json.dumps(values))

    with pytest.raises(CorruptDataError, match="notes are not those"):
        load_export(folder)


@pytest.mark.slow
def test_stale_weights_are_found(folder, tmp_path):
    replaced(folder, tiny_model(tmp_path / "older", seed=4))

    with pytest.raises(CorruptDataError, match="answers differently"):
        load_export(folder)


def test_a_device_that_resizes_otherwise_is_found(whole_export):
    certificate = read_certificate(whole_export)

    class Nearest(OnnxModel):
        def resize(self, images):
            rows = np.arange(SIZE) * images.shape[1] // SIZE
            columns = np.arange(SIZE) * images.shape[2] // SIZE
            return np.ascontiguousarray(images[:, rows][:, :, columns])

    device = Nearest((whole_export / "model-fp32.onnx").read_bytes(), certificate, "fp32")
    data = (whole_export / "golden.npz").read_bytes()
    with pytest.raises(CorruptDataError, match="answers differently"):
        device.check(read_golden(data, certificate.golden_sha256, where="here"))


def test_a_model_that_always_says_the_same_is_not_certified(tmp_path):
    model = tiny_model(tmp_path / "model")
    with torch.no_grad():
        model.network.get_classifier().weight.zero_()

    with pytest.raises(NotReadyError, match="answers alike"):
        export_model(
            model,
            open_storage(tmp_path / "export"),
            Origin("stripes", 1),
            pictures=pictures(),
            calibration=np.stack(pictures(size=SIZE)),
            precisions=("fp32",),
        )
    assert not (tmp_path / "export" / CERTIFICATE).exists()


def test_a_model_of_several_classes_keeps_its_thresholds(tmp_path):
    certificate = Certificate(
        model="weeds",
        version=1,
        backbone="x",
        preprocessing={},
        classes=["weed", "water", "dry"],
        kind="multi",
        thresholds={"water": 0.9},
        weights_sha256="",
        embedding=1,
        exports={},
        golden_sha256="",
        golden_pictures=1,
        mutations={},
    )

    held = certificate.holds(np.array([[0.6, 0.6, 0.4]], np.float32))
    assert held.tolist() == [[True, False, False]]
