"""What KServe's clients and three clouds expect of a container."""

import base64
import json
import struct

import numpy as np
import pytest
from exported import SIZE, pictures
from servers import TOKEN, serving_folder

from besana.errors import ConfigError
from besana.images.encode import encode_jpeg, encode_png
from besana.serving.clouds import Surroundings, surroundings
from besana.serving.kserve import encoded_request
from besana.serving.site import Site

INFER = "/v2/models/stripes/infer"


@pytest.fixture(scope="module")
def server(whole_export):
    around = Surroundings(health="/isup", predict="/vx")
    with serving_folder(whole_export, site=Site(TOKEN, around=around)) as running:
        yield running


@pytest.fixture(scope="module")
def inside(whole_export):
    """A server as in a container of a cloud: any host, no token."""
    with serving_folder(whole_export, site=Site("", any_host=True)) as running:
        yield running


@pytest.fixture(scope="module")
def picture():
    return encode_png(pictures(1, size=SIZE)[0])


def outputs(answer):
    return {one["name"]: one for one in answer.json["outputs"]}


# KServe v2


def test_kserve_tells_server_health_and_model(server):
    assert server.ask("GET", "/v2").json["name"] == "besana"
    assert server.ask("GET", "/v2/health/live", Authorization="").json == {"live": True}
    assert server.ask("GET", "/v2/health/ready", Authorization="").json == {"ready": True}
    said = server.ask("GET", "/v2/models/stripes").json
    assert (said["name"], said["versions"]) == ("stripes", ["1"])
    assert said["inputs"][0] == {"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}
    assert server.ask("GET", "/v2/models/stripes/versions/1/ready").json["ready"] is True


@pytest.mark.parametrize(
    "path", ["/v2/models/other", "/v2/models/stripes/versions/9", "/v2/models/stripes/versions/x"]
)
def test_kserve_does_not_know_other_models(server, path):
    assert server.ask("GET", path).status == 404


@pytest.mark.parametrize("nested", [True, False])
def test_kserve_judges_pixels_in_json(server, model, nested):
    images = np.stack(pictures(3, size=SIZE))
    data = images.tolist() if nested else images.ravel().tolist()
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": data}
    answer = server.ask("POST", INFER, {"id": "7", "inputs": [tensor]})

    assert (answer.json["model_name"], answer.json["model_version"], answer.json["id"]) == (
        "stripes",
        "1",
        "7",
    )
    probability = outputs(answer)["probability"]
    assert probability["shape"] == [3, 2]
    assert probability["data"] == pytest.approx(model.predict(images).ravel().tolist(), abs=1e-5)
    assert outputs(answer)["class_name"]["data"] == model.names(model.predict(images))


def test_kserve_judges_pixels_as_bytes(server, model):
    images = np.stack(pictures(2, size=SIZE))
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "images",
                    "datatype": "UINT8",
                    "shape": list(images.shape),
                    "parameters": {"binary_data_size": images.nbytes},
                }
            ]
        }
    ).encode()
    answer = server.ask(
        "POST",
        INFER,
        head + images.tobytes(),
        "application/octet-stream",
        Inference_Header_Content_Length=str(len(head)),
    )
    assert outputs(answer)["probability"]["data"] == pytest.approx(
        model.predict(images).ravel().tolist(), abs=1e-5
    )


def test_kserve_judges_files_and_cuts_frames(server, picture):
    frame = encode_jpeg(
        np.random.default_rng(1).integers(0, 256, (60, 120, 3)).astype(np.uint8), 90
    )
    plain = server.ask("POST", INFER, encoded_request([picture, picture]))
    cut = server.ask("POST", INFER, encoded_request([frame], "pen-a"))
    head = json.dumps({"inputs": [{"name": "files", "datatype": "BYTES", "shape": [1]}]}).encode()
    body = head + struct.pack("<I", len(picture)) + picture
    raw = server.ask(
        "POST",
        INFER,
        body,
        "application/octet-stream",
        Inference_Header_Content_Length=str(len(head)),
    )

    assert outputs(plain)["probability"]["shape"] == [2, 2]
    assert outputs(cut)["region"]["data"] == ["bed-1", "bed-2"]
    assert outputs(raw)["probability"]["data"] == outputs(plain)["probability"]["data"][:2]


@pytest.mark.parametrize(
    "inputs",
    [
        None,
        [],
        [{"name": "images", "datatype": "FP32", "shape": [1, 32, 32, 3], "data": [0.0]}],
        [{"name": "images", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0]}],
        [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 300, 0]}],
        [{"name": "images", "datatype": "UINT8", "shape": [1, -1, 1, 3], "data": [0, 0, 0]}],
        [{"name": "images", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}],
        [{"name": "files", "datatype": "BYTES", "shape": [1], "data": [7]}],
        [{"name": "files", "datatype": "BYTES", "shape": [1], "data": ["http://x/y.jpg"]}],
    ],
)
def test_kserve_refuses_what_it_does_not_understand(server, inputs):
    assert server.ask("POST", INFER, {"inputs": inputs}).status == 422


@pytest.mark.parametrize(
    ("length", "name", "tail"),
    [
        ("x", "images", bytes(SIZE * SIZE * 3)),
        ("-1", "images", bytes(SIZE * SIZE * 3)),
        ("999999", "images", bytes(SIZE * SIZE * 3)),
        ("", "images", bytes(SIZE * SIZE * 3 - 1)),
        ("", "images", b"x"),
        ("", "files", b"\xff\xff\xff\x7fshort"),
        ("", "files", b"\x01\x00"),
    ],
)
def test_kserve_refuses_bytes_that_are_not_what_the_head_says(server, length, name, tail):
    shape = [1, SIZE, SIZE, 3] if name == "images" else [1]
    kind = "UINT8" if name == "images" else "BYTES"
    head = json.dumps({"inputs": [{"name": name, "datatype": kind, "shape": shape}]}).encode()
    answer = server.ask(
        "POST",
        INFER,
        head + tail,
        "application/octet-stream",
        Inference_Header_Content_Length=length or str(len(head)),
    )
    assert (answer.status, answer.json["error"]) == (422, "wrong_input")


# SageMaker


def test_sagemaker_pings_and_invokes(inside, picture):
    assert inside.ask("GET", "/ping", Authorization="", Host="container.internal").status == 200
    for kind in ("image/png", "application/x-image"):
        answer = inside.ask(
            "POST", "/invocations", picture, kind, Authorization="", Host="10.0.0.7:8080"
        )
        assert answer.status == 200
        assert answer.json["predictions"][0]["regions"][0]["class_name"] in ("across", "upright")
    text = base64.b64encode(picture).decode()
    answer = inside.ask("POST", "/invocations", {"instances": [{"b64": text}]}, Authorization="")
    assert len(answer.json["predictions"]) == 1


# Vertex AI


def test_vertex_answers_one_prediction_an_instance(server, picture):
    text = base64.b64encode(picture).decode()
    body = {
        "instances": [{"b64": text}, text, {"image_bytes": {"b64": text}}, {"b64": "AAAA"}],
        "parameters": {"camera": ""},
    }
    answer = server.ask("POST", "/vx", body)

    said = answer.json["predictions"]
    assert len(said) == 4
    assert said[0]["regions"] == said[1]["regions"] == said[2]["regions"]
    assert said[3]["reason"] == "not_an_image"
    assert server.ask("GET", "/isup", Authorization="").status == 200


# Azure ML


def test_azure_asks_for_life_readiness_and_scores(inside, picture):
    assert inside.ask("GET", "/", Authorization="").json == {"alive": True}
    assert inside.ask("GET", "/azure/live", Authorization="").status == 200
    assert inside.ask("GET", "/azure/ready", Authorization="").status == 200
    text = base64.b64encode(picture).decode()
    answer = inside.ask("POST", "/score", {"images": [text]}, Authorization="")
    assert answer.json["predictions"][0]["regions"]


def test_inside_a_container_other_sites_are_refused_still(inside, picture):
    answer = inside.ask(
        "POST", "/score", picture, "image/png", Origin="http://evil.example", Authorization=""
    )
    assert answer.status == 403


# The environment


def test_the_environment_says_which_cloud_it_is():
    vertex = surroundings(
        {
            "AIP_HTTP_PORT": "8080",
            "AIP_HEALTH_ROUTE": "/h",
            "AIP_PREDICT_ROUTE": "/p",
            "AIP_STORAGE_URI": "gs://b/m",
        }
    )
    assert vertex == Surroundings(8080, "gs://b/m", "/h", "/p", "vertex")
    assert surroundings({"SAGEMAKER_BIND_TO_PORT": "8080"}).folder == "/opt/ml/model"
    assert surroundings({"AZUREML_MODEL_DIR": "/var/m"}) == Surroundings(
        5001, "/var/m", cloud="azure"
    )
    assert surroundings({}) == Surroundings()


@pytest.mark.parametrize(
    "said",
    [
        {"AIP_HTTP_PORT": "x"},
        {"AIP_HTTP_PORT": "80", "AIP_HEALTH_ROUTE": "h"},
        {"AIP_HTTP_PORT": "80", "AIP_PREDICT_ROUTE": "/{x}"},
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(said):
    with pytest.raises(ConfigError):
        surroundings(said)
