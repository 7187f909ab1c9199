"""Foreign and broken graphs are refused before anything runs them (B43)."""

import hashlib
import json
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from besana.errors import CorruptDataError, NotReadyError
from besana.models.onnx_guard import inspect_onnx
from besana.models.onnx_model import CERTIFICATE, load_export


def graph(nodes=None, *, weights=(1.0, 2.0), functions=()):
    """A graph that adds two numbers to its input."""
    nodes = nodes or [helper.make_node("Add", ["x", "w"], ["y"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    initializer = helper.make_tensor(
        "w", TensorProto.FLOAT, [2], np.float32(weights).tobytes(), raw=True
    )
    made = helper.make_graph(nodes, "g", [value[0]], [value[1]], [initializer])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("foreign", 1)]
    return helper.make_model(made, opset_imports=opsets, functions=list(functions))


def reason(data):
    with pytest.raises(CorruptDataError) as caught:
        inspect_onnx(data, where="a.onnx")
    return caught.value.reason


def test_a_good_graph_is_described(whole_export):
    data = (whole_export / "model-fp32.onnx").read_bytes()
    found = inspect_onnx(data, where="here")

    assert found.operators["Conv"] > 5
    assert found.weights_bytes > 0.9 * len(data)
    assert "besana" in found.metadata


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_graph_cut_short_is_truncated(whole_export, keep):
    data = (whole_export / "model-fp32.onnx").read_bytes()
    assert reason(data[: int(len(data) * keep)]) == "truncated"


@pytest.mark.parametrize("place", ["../../etc/passwd", "weights.bin", "/etc/passwd"])
def test_weights_outside_the_file_are_refused(place):
    made = graph()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", place
    assert reason(made.SerializeToString()) == "external_data"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(bad):
    assert reason(graph(weights=(1.0, bad)).SerializeToString()) == "not_finite"
    made = graph()
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].float_data.extend([1.0, bad])
    assert reason(made.SerializeToString()) == "not_finite"


def test_foreign_operators_are_refused_wherever_they_stand():
    foreign = helper.make_node("Run", ["x"], ["y"], domain="foreign")
    assert reason(graph([foreign]).SerializeToString()) == "custom_operator"
    branch = helper.make_graph(
        [helper.make_node("Run", [], ["y"], domain="foreign")],
        "inner",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    nested = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    assert reason(graph([nested]).SerializeToString()) == "custom_operator"


def test_functions_are_refused():
    node = helper.make_node("Add", ["a", "a"], ["b"])
    function = helper.make_function(
        "foreign", "Run", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]
    )
    assert reason(graph(functions=[function]).SerializeToString()) == "custom_operator"


def test_a_graph_of_too_many_nodes_is_refused():
    nodes = [helper.make_node("Add", ["x", "w"], [f"y{n}"]) for n in range(20_001)]
    assert reason(graph(nodes).SerializeToString()) == "too_large"


def test_a_graph_of_nothing_but_structure_is_refused():
    node = helper.make_node("Add", ["x", "w"], ["y"], doc_string="x" * 70_000_000)
    assert reason(graph([node]).SerializeToString()) == "too_large"


def test_random_bytes_are_refused():
    rng = np.random.default_rng(0)
    for _ in range(50):
        with pytest.raises(CorruptDataError):
            inspect_onnx(rng.bytes(2000), where="noise")


def test_a_flipped_bit_anywhere_is_found(folder):
    path = folder / "model-fp32.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match="not the file that its certificate names"):
        load_export(folder)


def test_a_certificate_that_is_not_the_registered_one_is_refused(folder):
    registered = hashlib.sha256((folder / CERTIFICATE).read_bytes()).hexdigest()
    assert load_export(folder, sha256=registered).precision == "fp32"
    with (folder / CERTIFICATE).open("a") as file:
        file.write(" ")
    with pytest.raises(CorruptDataError, match="not the one that was registered"):
        load_export(folder, sha256=registered)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_in_place_of_the_graph_are_refused(folder, tmp_path, link):
    path = folder / "model-fp32.onnx"
    path.rename(tmp_path / "elsewhere.onnx")
    link(tmp_path / "elsewhere.onnx", path)
    with pytest.raises(CorruptDataError, match="is a link"):
        load_export(folder)


def rewritten(folder, change):
    """Change the graph and let the certificate name the result."""
    made = onnx.load(folder / "model-fp32.onnx")
    change(made.graph)
    data = made.SerializeToString()
    (folder / "model-fp32.onnx").write_bytes(data)
    values = json.loads((folder / CERTIFICATE).read_text())
    values["exports"]["fp32"]["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / CERTIFICATE).write_text(json.dumps(values))


def test_another_input_shape_is_refused(folder):
    def change(graph):
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64

    rewritten(folder, change)
    with pytest.raises(CorruptDataError):
        load_export(folder)


def test_another_output_is_refused(folder):
    def change(graph):
        del graph.output[2]

    rewritten(folder, change)
    with pytest.raises(CorruptDataError, match="its certificate says"):
        load_export(folder)


def test_a_golden_set_that_was_changed_is_refused(folder):
    data = bytearray((folder / "golden.npz").read_bytes())
    data[-100] ^= 1
    (folder / "golden.npz").write_bytes(data)
    with pytest.raises(CorruptDataError, match="golden set"):
        load_export(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}'])
def test_a_foreign_certificate_is_refused(folder, text):
    (folder / CERTIFICATE).write_text(text)
    with pytest.raises(CorruptDataError):
        load_export(folder)


def test_no_export_says_what_to_do(tmp_path):
    with pytest.raises(NotReadyError, match="besana export"):
        load_export(tmp_path)
