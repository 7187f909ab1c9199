"""The container contracts of SageMaker, Vertex AI and Azure ML, on the same server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from besana.errors import ConfigError
from besana.serving.requests import MEDIA, frames_in, media_of, parsed
from besana.serving.routes import Rooms, caller_of, ready
from besana.serving.service import Service
from besana.web.server import Route

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(frozen=True)
class Surroundings:
    """What a cloud says about its container through the environment.

    Attributes:
        port: Where it calls; None where nothing is said.
        folder: Where it put the model; empty where nothing is said.
        health: Path of Vertex AI's health check.
        predict: Path of Vertex AI's predictions.
        cloud: `sagemaker`, `vertex`, `azure`, or empty.
    """

    port: int | None = None
    folder: str = ""
    health: str = "/vertex/health"
    predict: str = "/vertex/predict"
    cloud: str = ""


def surroundings(environment: Mapping[str, str] | None = None) -> Surroundings:
    """Read which cloud runs this container, if any.

    Raises:
        ConfigError: If what it says makes no sense.
    """
    said = os.environ if environment is None else environment
    if "AIP_HTTP_PORT" in said:
        paths = {key: said.get(f"AIP_{key.upper()}_ROUTE", "") for key in ("health", "predict")}
        given = {key: _path(value) for key, value in paths.items() if value}
        return Surroundings(
            _port(said["AIP_HTTP_PORT"]), said.get("AIP_STORAGE_URI", ""), cloud="vertex", **given
        )
    if "SAGEMAKER_BIND_TO_PORT" in said or "SM_MODEL_DIR" in said or "SAGEMAKER_REGION" in said:
        port = _port(said.get("SAGEMAKER_BIND_TO_PORT", "8080"))
        return Surroundings(port, said.get("SM_MODEL_DIR", "/opt/ml/model"), cloud="sagemaker")
    if "AZUREML_MODEL_DIR" in said:
        return Surroundings(
            _port(said.get("AZUREML_SERVING_PORT", "5001")),
            said["AZUREML_MODEL_DIR"],
            cloud="azure",
        )
    return Surroundings()


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ConfigError(f"The environment names the port '{text}'.", "Give 1 to 65535.")
    return int(text)


def _path(text: str) -> str:
    if not text.startswith("/") or "{" in text or text == "/":
        raise ConfigError(f"The environment names the route '{text}'.", "Begin it with '/'.")
    return text


class CloudRoutes(Rooms):
    """What each cloud calls.

    Args:
        service: What judges.
        body_bytes: What a body may have at most.
        around: Paths that Vertex AI chose.
    """

    def __init__(self, service: Service, body_bytes: int, around: Surroundings) -> None:
        super().__init__(service, body_bytes)
        self._around = around

    def routes(self) -> list[Route]:
        """List them."""
        return [
            self.route("GET", "/ping", self.ready, role="public"),
            self.route("POST", "/invocations", self.invocations, media=MEDIA),
            self.route("GET", self._around.health, self.ready, role="public"),
            self.route("POST", self._around.predict, self.vertex),
            self.route("GET", "/azure/live", self.live, role="public"),
            self.route("GET", "/azure/ready", self.ready, role="public"),
            self.route("POST", "/score", self.judged, media=MEDIA),
        ]

    async def live(self, _request: Request) -> dict[str, Any]:
        """Tell that the process runs."""
        return {"alive": True}

    async def ready(self, _request: Request) -> dict[str, Any]:
        """Tell whether requests may come: status 200, as all three clouds ask."""
        return ready(self.service)

    async def invocations(self, request: Request) -> dict[str, Any]:
        """Answer SageMaker: `instances` with `predictions`, anything else as `/predict`."""
        if media_of(request) == "application/json" and "instances" in parsed(await request.body()):
            return await self.vertex(request)
        return await self.judged(request)

    async def vertex(self, request: Request) -> dict[str, Any]:
        """Answer Vertex AI: one prediction an instance, in its order."""
        deadline = self.deadline(request)
        values = parsed(await request.body())
        parameters = values.get("parameters")
        camera = parameters.get("camera", "") if isinstance(parameters, Mapping) else ""
        frames = frames_in(values.get("instances"), camera, self.service.serving.most_pictures)
        answer = await self.service.judge(frames, deadline, caller=caller_of(request))
        return {"predictions": answer["predictions"]}
