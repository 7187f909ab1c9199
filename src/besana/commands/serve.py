"""Serve predictions over HTTP: besana's own API, KServe's, and those of three clouds.

Reads: models/<name>/<version>/onnx, the registry; or FOLDER
Writes: served, serve-token
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from besana.config import Settings
from besana.errors import ConfigError, NotFoundError
from besana.images.guard import Bounds
from besana.workspace import Workspace

if TYPE_CHECKING:
    from besana.catalog import Catalog
    from besana.images.camera import Camera
    from besana.serving.clouds import Surroundings
    from besana.serving.fleet import Lineups
    from besana.serving.service import Service, Serving
    from besana.web.server import Route

EXAMPLE = "besana serve farm --port 8400"

TOKEN_FILE, TOKEN_VARIABLE = "serve-token", "BESANA_SERVE_TOKEN"  # names, not secrets
_LEAST_TOKEN = 16


class Config(Settings):
    """Settings of `serve`."""

    model: str = Field(
        default="classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the model.",
    )
    folder: str = Field(
        default="",
        description="Serve this exported folder instead; then no workspace is needed.",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8400, ge=0, le=65535, description="Port; 0: any that is free.")
    name: list[str] = Field(
        default=[], description="Further names by which callers call this machine."
    )
    token: bool = Field(
        default=True,
        description="Ask callers for the token in serve-token or BESANA_SERVE_TOKEN.",
    )
    any_host: bool = Field(
        default=False, description="Take requests for any host name, as inside a container."
    )
    precision: Literal["fp32", "fp16", "int8"] = Field(
        default="fp32", description="Which of the exported files."
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Batches at the same time, a thread each; 0: one a core.",
    )
    decoders: int = Field(
        default=0, ge=0, le=256, description="Processes that decode; 0: one a core."
    )
    batch_size: int = Field(default=16, ge=1, le=1024, description="Most pictures at a time.")
    queue: int = Field(
        default=0, ge=0, description="Pictures that may wait; 0: a batch a thread. Others get 429."
    )
    burst_s: float = Field(
        default=0.25,
        ge=0,
        description="Seconds that a request may wait for those before it; others get 429.",
    )
    deadline_s: float = Field(
        default=5.0, gt=0, description="Seconds after which nobody wants the answer."
    )
    most_pictures: int = Field(default=64, ge=1, description="Pictures in one request.")
    max_body_bytes: int = Field(default=50_000_000, ge=1000, description="Bytes of one request.")
    max_pixels: int = Field(default=40_000_000, ge=1, description="Pixels of one picture.")
    keep_share: float = Field(
        default=1.0, ge=0, le=1, description="Share of the frames whose predictions are kept."
    )
    embedding_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of the kept ones with their embedding."
    )
    refresh_s: float = Field(
        default=10.0, ge=0, description="Seconds between looks into the registry; 0: never."
    )
    drain_s: float = Field(
        default=1.0, ge=0, description="Seconds not ready before stopping, so that others notice."
    )
    tracking_uri: str = Field(
        default="",
        description="MLflow server; empty: MLFLOW_TRACKING_URI, else a file in runs/.",
    )


def run(farm: Path, config: Config, until: Callable[[], bool] | None = None) -> None:
    """Serve until a signal.

    Args:
        farm: Folder of the workspace; not looked at with `--folder` unless it is one.
        config: Settings.
        until: Asked a few times a second whether to stop.

    Raises:
        NotReadyError: If there is no champion, or it is not exported.
        CorruptDataError: If the champion is not what was registered, or answers differently.
        ConfigError: If the address cannot be had, or others could come in without a token.
        MissingExtraError: If a library is not installed.
    """
    from besana.web.server import Address, bind, check_libraries

    check_libraries("serve", "onnxruntime", "prometheus_client")
    from besana.serving.clouds import surroundings
    from besana.serving.pipeline import PipelineRoutes
    from besana.serving.service import Service
    from besana.serving.site import Site, build_service, log_lines, run_service

    around = surroundings()
    workspace = _workspace(farm, config, around)
    token = _token(workspace, config, around)
    inside = bool(around.cloud)
    address = Address(
        "0.0.0.0" if inside else config.host, around.port or config.port, tuple(config.name)
    )
    with contextlib.ExitStack() as closing:
        taken = closing.enter_context(bind(address))
        closing.enter_context(log_lines())
        lineups, catalog = _lineups(workspace, config, around)
        service = Service(lineups, _cameras(workspace, config, around), _serving(config), catalog)
        port = taken.getsockname()[1]
        more: tuple[Route, ...] = ()
        if catalog is not None and workspace is not None:
            pipeline = PipelineRoutes(service, workspace.path, config.model)
            closing.callback(pipeline.close)
            more = tuple(pipeline.routes())
        site = Site(token, config.any_host or inside, config.max_body_bytes, around, more)
        app = build_service(service, site, address.hosts(port))
        _greet(service, address.host, port, token)
        _settle()
        run_service(
            *(service, app, taken, address),
            refresh_s=0 if catalog is None else config.refresh_s,
            drain_s=config.drain_s,
            until=until or (lambda: False),
        )


def _workspace(farm: Path, config: Config, around: Surroundings) -> Workspace | None:
    try:
        return Workspace(farm)
    except NotFoundError:
        if config.folder or around.folder:
            return None
        raise


def _lineups(
    workspace: Workspace | None, config: Config, around: Surroundings
) -> tuple[Lineups, Catalog | None]:
    from besana.serving.registered import folder_lineups, registry_lineups

    folder = config.folder or around.folder
    if folder or workspace is None:
        return folder_lineups(folder), None
    from besana.registry import open_registry

    registry = open_registry(workspace, config.tracking_uri)
    return registry_lineups(workspace, registry, config.model), workspace.catalog


def _cameras(
    workspace: Workspace | None, config: Config, around: Surroundings
) -> Mapping[str, Camera]:
    from besana.serving.edge import read_cameras

    if workspace is not None and workspace.cameras:
        return workspace.cameras
    folder = config.folder or around.folder
    return read_cameras(folder) if folder else {}


def _serving(config: Config) -> Serving:
    from besana.serving.fleet import Running
    from besana.serving.service import Serving
    from besana.shards.memory import usable_processors

    cores = usable_processors()
    threads = config.threads or cores
    running = Running(
        precision=config.precision,
        threads=threads,
        batch_size=config.batch_size,
        most_waiting=config.queue or config.batch_size * threads,
        cores=cores,
    )
    return Serving(
        running=running,
        bounds=Bounds(
            max_pixels=config.max_pixels,
            max_file_bytes=config.max_body_bytes,
            decode_memory_bytes=512_000_000,
            decode_wall_s=15,
        ),
        decoders=config.decoders or cores,
        most_pictures=config.most_pictures,
        burst_s=config.burst_s,
        deadline_s=config.deadline_s,
        keep_share=config.keep_share,
        embedding_share=config.embedding_share,
    )


def _token(workspace: Workspace | None, config: Config, around: Surroundings) -> str:
    """Find the token, make one at the first start, or see that none is needed."""
    given = os.environ.get(TOKEN_VARIABLE, "")
    if not config.token or (around.cloud and not given):
        local = config.host in ("127.0.0.1", "::1", "localhost")
        if not local and not config.any_host and not around.cloud:
            raise ConfigError(
                f"{config.host} can be reached from other machines, and no token is asked for.",
                "Leave --no-token out, or say --any-host inside a container.",
            )
        return ""
    if not given and workspace is None:
        raise ConfigError("There is no token.", f"Set {TOKEN_VARIABLE}, or say --no-token.")
    token = given or _kept_token(workspace)  # type: ignore[arg-type]  # checked above
    if len(token) < _LEAST_TOKEN:
        raise ConfigError(
            f"The token has {len(token)} letters.", f"Use at least {_LEAST_TOKEN}, at random."
        )
    return token


def _kept_token(workspace: Workspace) -> str:
    path = workspace.path / TOKEN_FILE
    with contextlib.suppress(FileExistsError):
        number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_urlsafe(24))
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"Others may read {path}.", f"Run: chmod 600 {path}")
    return path.read_text().strip()


def _settle() -> None:
    """Leave what was loaded out of every later collection, for which all threads would stop."""
    import gc

    from besana.engines.child import keep_memory

    keep_memory()
    gc.collect()
    gc.freeze()


def _greet(service: Service, host: str, port: int, token: str) -> None:
    import sys

    certificate = service.fleet.champion.model.certificate
    shown = "127.0.0.1" if host == "0.0.0.0" else host  # compared, not bound
    line = {
        "event": "serving",
        "model": f"{certificate.model}/{certificate.version}",
        "page": f"http://{shown}:{port}/",
    }
    sys.stdout.write(json.dumps(line) + "\n")
    if token and sys.stdout.isatty():
        sys.stdout.write(f"Open once in a browser: {line['page']}#{token}\n")
    sys.stdout.flush()
