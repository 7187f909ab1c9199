"""The Open Inference Protocol, which KServe, Triton and their clients speak (version 2)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from besana.models.onnx_model import Certificate
from besana.serving.requests import decoded, parsed, wrong
from besana.serving.routes import Rooms, caller_of, ready
from besana.serving.service import Frame
from besana.web.gate import RefusedError
from besana.web.server import Route

if TYPE_CHECKING:
    from starlette.requests import Request

_BINARY = "inference-header-content-length"
_MEDIA = ("application/json", "application/octet-stream")


class KserveRoutes(Rooms):
    """`/v2/...`: pixels as a tensor `images`, or files as a tensor `files` of bytes."""

    def routes(self) -> list[Route]:
        """List them."""
        one, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        return [
            self.route("GET", "/v2", self.server),
            self.route("GET", "/v2/health/live", self.live, role="public"),
            self.route("GET", "/v2/health/ready", self.ready, role="public"),
            *(self.route("GET", place, self.metadata) for place in (one, version)),
            *(self.route("GET", f"{p}/ready", self.model_ready) for p in (one, version)),
            *(self.route("POST", f"{p}/infer", self.infer, media=_MEDIA) for p in (one, version)),
        ]

    async def server(self, _request: Request) -> dict[str, Any]:
        """Describe the server."""
        from besana import __version__

        return {"name": "besana", "version": __version__, "extensions": ["binary_tensor_data"]}

    async def live(self, _request: Request) -> dict[str, Any]:
        """Tell that the process runs."""
        return {"live": True}

    async def ready(self, _request: Request) -> dict[str, Any]:
        """Tell whether requests may come."""
        return {"ready": ready(self.service)["ready"]}

    async def model_ready(self, request: Request) -> dict[str, Any]:
        """Tell whether a model is loaded."""
        certificate = self._certificate(request, self._version(request))
        return {"name": certificate.model, "ready": ready(self.service)["ready"]}

    async def metadata(self, request: Request) -> dict[str, Any]:
        """Describe a model's tensors."""
        certificate = self._certificate(request, self._version(request))
        size, classes = certificate.preprocessing.size_px, len(certificate.classes)
        shape = [-1, size, size, certificate.preprocessing.channels]
        return {
            "name": certificate.model,
            "versions": [str(one.source.number) for one in self.service.fleet.loaded],
            "platform": "besana_onnx",
            "inputs": [
                {"name": "images", "datatype": "UINT8", "shape": shape},
                {"name": "files", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [
                {"name": "probability", "datatype": "FP32", "shape": [-1, classes]},
                {"name": "class_name", "datatype": "BYTES", "shape": [-1]},
            ],
            "properties": {"classes": certificate.classes},
        }

    async def infer(self, request: Request) -> Any:
        """Judge tensors."""
        deadline, version = self.deadline(request), self._version(request)
        self._certificate(request, version)
        head, tail = _split(await request.body(), request.scope["named"].get(_BINARY, ""))
        tensor = _tensor(head)
        if tensor.get("name") == "files" or tensor.get("datatype") == "BYTES":
            return _answer(head, *await self._files(request, head, tensor, tail, deadline, version))
        loaded, judged = await self.service.judge_arrays(
            _pixels(tensor, tail), deadline, caller=caller_of(request), version=version
        )
        return _answer(head, loaded.model.certificate, judged.probability, None)

    async def _files(
        self,
        request: Request,
        head: dict[str, Any],
        tensor: dict[str, Any],
        tail: memoryview,
        deadline: float,
        version: int | None,
    ) -> tuple[Certificate, NDArray[np.float32], list[str]]:
        camera = str(head.get("parameters", {}).get("camera", ""))
        frames = [Frame({"rgb": data}, camera) for data in _files(tensor, tail)]
        answer = await self.service.judge(
            frames, deadline, caller=caller_of(request), version=version
        )
        for one in answer["predictions"]:
            if "problem" in one:
                raise RefusedError(422, one["reason"], one["problem"])
        regions = [region for one in answer["predictions"] for region in one["regions"]]
        number = answer["predictions"][0]["version"]
        found = self.service.fleet.route("", number)[0].model.certificate
        rows = [[region["probabilities"][name] for name in found.classes] for region in regions]
        return found, np.asarray(rows, np.float32), [region["region"] for region in regions]

    def _version(self, request: Request) -> int | None:
        text = request.path_params.get("version")
        if text is None:
            return None
        if not text.isdecimal():
            raise RefusedError(404, "not_loaded", f"There is no version '{text[:40]}'.")
        return int(text)

    def _certificate(self, request: Request, version: int | None) -> Certificate:
        loaded, _ = self.service.fleet.route("", version)
        certificate = loaded.model.certificate
        if request.path_params["name"] != certificate.model:
            raise RefusedError(404, "not_loaded", f"Only '{certificate.model}' is served here.")
        return certificate


def _split(body: bytes, length: str) -> tuple[dict[str, Any], memoryview]:
    """Part the JSON of a request from the bytes behind it."""
    if not length:
        return parsed(body), memoryview(b"")
    if not length.isdecimal() or int(length) > len(body):
        raise wrong("Inference-Header-Content-Length is not a length.")
    return parsed(body[: int(length)]), memoryview(body)[int(length) :]


def _tensor(head: dict[str, Any]) -> dict[str, Any]:
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise wrong("Send one input: images (UINT8) or files (BYTES).")
    tensor: dict[str, Any] = inputs[0]
    return tensor


def _pixels(tensor: dict[str, Any], tail: memoryview) -> NDArray[np.uint8]:
    shape = tensor.get("shape")
    if (
        tensor.get("datatype") != "UINT8"
        or not isinstance(shape, list)
        or len(shape) != 4
        or not all(isinstance(n, int) and 0 < n <= 65_535 for n in shape)
    ):
        raise wrong("images is UINT8 of shape [n, height, width, channels].")
    try:
        if tail:
            return np.frombuffer(tail, np.uint8).reshape(shape)
        values = np.asarray(tensor.get("data"), dtype=np.int64).ravel()
        if len(values) and (values.min() < 0 or values.max() > 255):
            raise ValueError("out of range")
        return values.astype(np.uint8).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise wrong(f"The data does not fill the shape {shape} with 0 to 255.") from None


def _files(tensor: dict[str, Any], tail: memoryview) -> list[bytes]:
    """Read files: base64 in JSON, or each with its length in 4 bytes before it."""
    if not tail:
        data = tensor.get("data")
        if not isinstance(data, list):
            raise wrong("files is a list of texts in base64.")
        return [decoded(text) for text in data]
    found, at = [], 0
    while at < len(tail):
        length = int.from_bytes(tail[at : at + 4], "little")
        found.append(bytes(tail[at + 4 : at + 4 + length]))
        at += 4 + length
    if at != len(tail):
        raise wrong("The bytes of files end too early.")
    return found


def _answer(
    head: dict[str, Any],
    certificate: Certificate,
    probability: NDArray[np.float32],
    regions: Sequence[str] | None,
) -> dict[str, Any]:
    best = [certificate.classes[place] for place in probability.argmax(axis=1).tolist()]
    outputs: list[dict[str, Any]] = [
        {
            "name": "probability",
            "datatype": "FP32",
            "shape": list(probability.shape),
            "data": [round(value, 6) for value in probability.ravel().tolist()],
        },
        {"name": "class_name", "datatype": "BYTES", "shape": [len(best)], "data": best},
    ]
    if regions is not None:
        shape = [len(regions)]
        outputs.append({"name": "region", "datatype": "BYTES", "shape": shape, "data": regions})
    answer = {
        "model_name": certificate.model,
        "model_version": str(certificate.version),
        "outputs": outputs,
    }
    return {**answer, "id": head["id"]} if isinstance(head.get("id"), str) else answer


def encoded_request(files: Sequence[bytes], camera: str = "") -> bytes:
    """Make the body of a request with files, as clients in tests and benchmarks send it."""
    data = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "files", "datatype": "BYTES", "shape": [len(data)], "data": data}
    return json.dumps({"inputs": [tensor], "parameters": {"camera": camera}}).encode()
