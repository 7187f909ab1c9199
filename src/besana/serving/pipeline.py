"""Let a call over HTTP start a retraining: the command runs beside the server, one at a time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from besana.serving.routes import ADMIN, Rooms
from besana.serving.service import Service
from besana.web.gate import RefusedError
from besana.web.server import Route

if TYPE_CHECKING:
    from starlette.requests import Request

_LAST_CHARACTERS = 500


class PipelineRoutes(Rooms):
    """`/pipeline/retrain`: begin a retraining, or go on with the one that was begun.

    Args:
        service: What judges.
        farm: Folder of the workspace.
        model: Name of the model.
    """

    def __init__(self, service: Service, farm: Path, model: str) -> None:
        super().__init__(service)
        self._command = [
            *(sys.executable, "-m", "besana", "retrain", str(farm)),
            *("--now", "--model", model, "--quiet"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the server

    def routes(self) -> list[Route]:
        """List them."""
        return [
            self.route("POST", "/pipeline/retrain", self.start, role=ADMIN),
            self.route("GET", "/pipeline/retrain", self.state, role=ADMIN),
        ]

    def close(self) -> None:
        """Stop what runs; the same command goes on where it was."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
        if self._process is not None:
            self._process.wait()
        self._said.close()

    async def start(self, request: Request) -> Any:
        """Start the command, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            raise RefusedError(409, "running", "A retraining runs already.")
        self._said.seek(0)
        self._said.truncate()
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said
        )
        return await self.state(request)

    async def state(self, _request: Request) -> dict[str, Any]:
        """Tell whether it runs, and how the last one ended."""
        if self._process is None:
            return {"state": "never_started"}
        status = self._process.poll()
        if status is None:
            return {"state": "running"}
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")[-_LAST_CHARACTERS:].strip()
        return {"state": "finished" if status == 0 else "failed", "status": status, "said": said}
