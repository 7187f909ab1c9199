"""besana's own routes: predict, health, figures, and what answers errors for all protocols."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from besana.errors import CorruptDataError, NotReadyError
from besana.serving.errors import DrainingError, OverloadedError, TooLateError
from besana.serving.requests import MEDIA, frames_of
from besana.serving.service import Service
from besana.web.gate import Access, Caller, RefusedError
from besana.web.plain import Json
from besana.web.server import Route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Endpoint = Callable[..., Awaitable[Any]]

BODY_BYTES = 50_000_000
PREDICT, ADMIN = "viewer", "admin"
"""Least roles: of who asks, and of who starts a retraining, which always takes the token."""


class Rooms:
    """What every protocol needs: the service, and answers in one form.

    Args:
        service: What judges.
        body_bytes: What a body may have at most.
    """

    def __init__(self, service: Service, body_bytes: int = BODY_BYTES) -> None:
        self.service, self.body_bytes = service, body_bytes

    def route(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        role: str = PREDICT,
        media: tuple[str, ...] = ("application/json",),
    ) -> Route:
        """Make a route whose time and outcome are counted."""
        body = self.body_bytes if method == "POST" else 1 << 16
        access = Access(method, path, role, body_bytes=body, media=media)
        return Route(access, self._counted(path, endpoint), is_plain=True)

    def _counted(self, path: str, endpoint: Endpoint) -> Endpoint:
        figures = self.service.figures
        seconds = figures.seconds.labels(path)

        async def counted(request: Request) -> Response | Json:
            started, status = time.perf_counter(), 500
            try:
                response = _response(await _translated(endpoint, request))
                status = response.status_code
            except RefusedError as refused:
                status = refused.status
                raise
            finally:
                figures.requests(path, status).inc()
                seconds.observe(time.perf_counter() - started)
            if self.service.draining:
                response.headers["connection"] = "close"
            return response

        return counted

    def deadline(self, request: Request) -> float:
        """Give the moment after which the caller wants no answer."""
        text = request.scope["named"].get("x-besana-deadline-ms", "")
        return self.service.expire(int(text) / 1000 if text.isdecimal() else None)

    async def judged(self, request: Request, *, version: int | None = None) -> dict[str, Any]:
        """Judge the frames of a request, as besana's own route answers.

        Raises:
            RefusedError: If none of them could be used.
        """
        deadline = self.deadline(request)
        frames = await frames_of(request, self.service.serving.most_pictures)
        answer = await self.service.judge(
            frames, deadline, caller=caller_of(request), version=version
        )
        refused = [one for one in answer["predictions"] if "problem" in one]
        if len(refused) == len(frames):
            more = {"predictions": answer["predictions"]}
            raise RefusedError(422, refused[0]["reason"], refused[0]["problem"], more=more)
        return answer


class PredictRoutes(Rooms):
    """`/predict` and what tells how the server is."""

    def routes(self) -> list[Route]:
        """List them."""
        return [
            self.route("POST", "/predict", self.judged, media=MEDIA),
            self.route("GET", "/model", self.model),
            self.route("GET", "/healthz", self.alive, role="public"),
            self.route("GET", "/readyz", self.ready, role="public"),
            self.route("GET", "/metrics", self.metrics),
            self.route("GET", "/openapi.json", self.openapi),
        ]

    async def model(self, _request: Request) -> dict[str, Any]:
        """Say which versions are loaded and what they are."""
        fleet = self.service.fleet
        return {
            "champion": fleet.champion.source.number,
            "shares": fleet.shares.model_dump(mode="json"),
            "cameras": sorted(self.service.cameras),
            "versions": [one.model.certificate.model_dump(mode="json") for one in fleet.loaded],
        }

    async def alive(self, _request: Request) -> dict[str, Any]:
        """Tell that the process runs."""
        return {"alive": True}

    async def ready(self, _request: Request) -> dict[str, Any]:
        """Tell whether requests may come, and which model answers."""
        return ready(self.service)

    async def metrics(self, _request: Request) -> Response:
        """Give the figures for Prometheus."""
        from starlette.responses import Response

        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self.service.figures.text(), media_type=kind)

    async def openapi(self, _request: Request) -> dict[str, Any]:
        """Describe every route."""
        return openapi()


def ready(service: Service) -> dict[str, Any]:
    """Tell whether requests may come.

    Raises:
        RefusedError: While the server is about to stop.
    """
    if service.draining:
        raise RefusedError(503, "draining", "The server is about to stop.", retry_s=1)
    certificate = service.fleet.champion.model.certificate
    return {"ready": True, "model": certificate.model, "version": certificate.version}


def openapi() -> dict[str, Any]:
    """Read the description of every route."""
    text = (files("besana.serving") / "openapi.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def caller_of(request: Request) -> str:
    """Name who asks, so that the same caller gets the same version."""
    caller: Caller | None = request.scope.get("caller")
    host, _ = request.scope.get("client") or ("", 0)
    return f"{caller.name if caller else ''}@{host}"


def _response(value: dict[str, Any] | Response) -> Response | Json:
    return Json(json.dumps(value).encode()) if isinstance(value, dict) else value


async def _translated(endpoint: Endpoint, request: Request) -> Any:
    try:
        return await endpoint(request)
    except OverloadedError as error:
        raise RefusedError(429, "overloaded", error.problem, retry_s=error.retry_s) from None
    except TooLateError as error:
        raise RefusedError(504, "too_late", error.problem) from None
    except DrainingError as error:
        raise RefusedError(503, "draining", error.problem, retry_s=1) from None
    except CorruptDataError as error:
        raise RefusedError(422, error.reason, str(error)) from None
    except NotReadyError as error:
        raise RefusedError(404, "not_loaded", error.problem) from None
