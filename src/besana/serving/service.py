"""The prediction service, whatever protocol it is asked through."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from besana.catalog import Catalog
from besana.errors import BesanaError, ConfigError, CorruptDataError
from besana.images.camera import Camera
from besana.images.guard import Bounds
from besana.images.header import refusal
from besana.serving.admission import Admission
from besana.serving.batching import Judged
from besana.serving.decoders import DecodeJob, Decoders, How
from besana.serving.edge import find_camera, named_answers
from besana.serving.errors import DrainingError, OverloadedError
from besana.serving.figures import Figures
from besana.serving.fleet import Fleet, Lineups, Loaded, Running
from besana.serving.handing import result
from besana.serving.pictures import Prepared, Wanted
from besana.serving.rows import RowWriter, served_row

_REROUTED = 3


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame that somebody sent.

    Attributes:
        files: Band to the bytes of its file, the main band first.
        camera: Its name; empty for a picture that is one sample.
        name: What the sender calls it.
    """

    files: Mapping[str, bytes]
    camera: str = ""
    name: str = ""


@dataclass(frozen=True)
class Serving:
    """How a service works.

    Attributes:
        running: How versions run.
        bounds: What a picture may be and may cost.
        decoders: Child processes that decode.
        most_pictures: Pictures in one request.
        burst_s: Seconds that a request may wait for those before it.
        deadline_s: Seconds until an answer is worth nothing.
        keep_share: Share of the frames whose predictions become rows.
        embedding_share: Share of those rows that hold their embedding.
    """

    running: Running = field(default_factory=Running)
    bounds: Bounds = field(default_factory=Bounds)
    decoders: int = 1
    most_pictures: int = 64
    burst_s: float = 0.25
    deadline_s: float = 5.0
    keep_share: float = 1.0
    embedding_share: float = 0.1


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A request that was taken up; a generator would cost it twice as much."""

    admission: Admission
    pictures: int

    def __enter__(self) -> None:
        """Nothing more to do."""

    def __exit__(self, *_error: object) -> None:
        self.admission.give_back(self.pictures)


class Service:
    """Judge frames with the champion and whoever stands beside it.

    Args:
        lineups: Which versions to load.
        cameras: Known cameras by name.
        serving: How to work.
        catalog: Where rows go; None keeps none.

    Raises:
        BesanaError: If the champion cannot be loaded.
    """

    def __init__(
        self,
        lineups: Lineups,
        cameras: Mapping[str, Camera],
        serving: Serving,
        catalog: Catalog | None = None,
    ) -> None:
        self.serving, self.cameras = serving, dict(cameras)
        self.figures = Figures()
        self.fleet = Fleet(lineups, serving.running, self._note_refused)
        self._show_versions()
        running = serving.running
        certificate = self.fleet.champion.model.certificate
        self.admission = Admission(
            most=running.most_waiting + running.batch_size,
            requests=2 + max(running.threads, serving.decoders),
            burst_s=serving.burst_s,
            each_s=certificate.exports[running.precision].latency_ms / 1000,
        )
        self.figures.waiting.set_function(lambda: self.admission.under_way)
        most = running.most_waiting + running.batch_size + serving.most_pictures
        self._decoders = Decoders(serving.decoders, most, self.fleet.turns)
        self._hows: dict[tuple[str, Wanted, bool], How] = {}
        self._rows = RowWriter(catalog, self._note_lost) if catalog is not None else None
        self._random = random.Random()
        self._start, self._numbers = secrets.token_hex(8), itertools.count()
        self.draining = False

    def close(self) -> None:
        """Finish what waits, then end every thread and child."""
        self._decoders.close()
        self.fleet.close()
        if self._rows is not None:
            self._rows.close()

    def refresh(self) -> None:
        """Load what the registry names now."""
        if self.fleet.refresh():
            self._show_versions()

    def expire(self, seconds: float | None = None) -> float:
        """Give the moment after which nobody wants an answer, at most the setting's."""
        allowed = self.serving.deadline_s
        return time.monotonic() + min(allowed, allowed if seconds is None else max(0.0, seconds))

    def admitted(self, pictures: int) -> _Admitted:
        """Take up a request, to be used with `with`, or refuse it at once.

        Raises:
            OverloadedError: If more is under way than may wait.
            CorruptDataError: If it holds more pictures than a request may.
        """
        if not 0 < pictures <= self.serving.most_pictures:
            raise refusal(
                "too_many", f"{pictures} pictures, {self.serving.most_pictures} a request"
            )
        if not self.admission.take(pictures):
            problem = f"{self.admission.under_way} pictures are under way."
            raise OverloadedError(problem, self.admission.retry_s)
        return _Admitted(self.admission, pictures)

    async def judge(
        self, frames: Sequence[Frame], deadline: float, *, caller: str, version: int | None = None
    ) -> dict[str, Any]:
        """Judge the frames of one request; what is wrong with one is said of that one.

        Args:
            frames: What was sent.
            deadline: Of `time.monotonic`.
            caller: Who asks, for pictures without a camera.
            version: A version that was asked for by number.

        Returns:
            Model, version, and one entry a frame: its regions, or its problem and reason.

        Raises:
            OverloadedError: If too much is under way.
            TooLateError: If the deadline has passed.
        """
        with self.admitted(len(frames)):
            request = f"{self._start}{next(self._numbers):08x}"
            jobs = [
                self._one(frame, f"{request}-{number}", deadline, caller, version)
                for number, frame in enumerate(frames)
            ]
            said = [await jobs[0]] if len(jobs) == 1 else await asyncio.gather(*jobs)
        versions = {entry["version"] for entry in said}
        certificate = self.fleet.champion.model.certificate
        answer = {"request": request, "model": certificate.model, "predictions": said}
        return {**answer, "version": versions.pop()} if len(versions) == 1 else answer

    async def judge_arrays(
        self, images: NDArray[np.uint8], deadline: float, *, caller: str, version: int | None = None
    ) -> tuple[Loaded, Judged]:
        """Judge pictures that are pixels already, (n, height, width, channels) of any size."""
        with self.admitted(len(images)):
            for _ in range(_REROUTED):
                loaded, _ = self.fleet.route(caller, version)
                preprocessing = loaded.model.certificate.preprocessing
                if images.shape[3] != preprocessing.channels:
                    raise refusal("other_channels", f"pictures of {images.shape[3]} bands")
                resized = images
                if images.shape[1:3] != (preprocessing.size_px, preprocessing.size_px):
                    resized = await asyncio.to_thread(loaded.model.resize, images)
                with contextlib.suppress(DrainingError):
                    judged = await result(loaded.batcher.submit(resized, deadline))
                    self._count(loaded, judged, "answer")
                    return loaded, judged
        raise DrainingError("Versions change faster than pictures are judged.")

    async def _one(
        self, frame: Frame, request: str, deadline: float, caller: str, version: int | None
    ) -> dict[str, Any]:
        said: dict[str, Any] = {"name": frame.name, "camera": frame.camera}
        try:
            camera = self._camera(frame.camera)
            key = frame.camera or caller
            return said | await self._answer(frame, camera, request, deadline, key, version)
        except CorruptDataError as error:
            self.figures.refused(error.reason).inc()
            return said | {"version": None, "problem": str(error), "reason": error.reason}

    def _camera(self, name: str) -> Camera:
        try:
            return find_camera(self.cameras, name)
        except ConfigError as error:
            raise CorruptDataError(error.problem, error.hint, "unknown_camera") from None

    async def _answer(
        self,
        frame: Frame,
        camera: Camera,
        request: str,
        deadline: float,
        key: str,
        version: int | None,
    ) -> dict[str, Any]:
        loaded, shadows = self.fleet.route(key, version)
        certificate = loaded.model.certificate
        keeps = self._rows is not None and self._random.random() < self.serving.keep_share
        prepared, judged = await self._judged(frame, camera, loaded, deadline, keeps)
        self._count(loaded, judged, "answer")
        regions = named_answers(certificate, prepared.regions, judged.probability)
        for region in regions:
            self.figures.classes(certificate.version, region["class_name"]).inc()
        if keeps:
            self._keep(frame, request, loaded, "answer", prepared, judged)
        for shadow in shadows:
            self._shadow(shadow, frame, camera, request, deadline, keeps)
        return {"version": certificate.version, "regions": regions}

    async def _judged(
        self, frame: Frame, camera: Camera, loaded: Loaded, deadline: float, keeps: bool
    ) -> tuple[Prepared, Judged]:
        key = (frame.camera, loaded.wanted, keeps)
        if (how := self._hows.get(key)) is None:
            how = self._hows[key] = How(camera, loaded.wanted, self.serving.bounds, keeps)
        job = DecodeJob(frame.files, how)
        return await result(self._decoders.submit(job, deadline, loaded.batcher.judge))

    def _shadow(
        self,
        shadow: Loaded,
        frame: Frame,
        camera: Camera,
        request: str,
        deadline: float,
        keeps: bool,
    ) -> None:
        """Let another version judge the same frame, when nobody waits for its place."""
        if self._decoders.waiting >= self.serving.running.most_waiting:
            return

        async def judge() -> None:
            with contextlib.suppress(BesanaError):
                prepared, judged = await self._judged(frame, camera, shadow, deadline, keeps)
                self._count(shadow, judged, "shadow")
                if keeps:
                    self._keep(frame, request, shadow, "shadow", prepared, judged)

        task = asyncio.get_running_loop().create_task(judge())
        _SHADOWS.add(task)
        task.add_done_callback(_SHADOWS.discard)

    def _keep(
        self,
        frame: Frame,
        request: str,
        loaded: Loaded,
        role: str,
        prepared: Prepared,
        judged: Judged,
    ) -> None:
        certificate = loaded.model.certificate
        answers = named_answers(certificate, prepared.regions, judged.probability)
        sha256 = hashlib.sha256(next(iter(frame.files.values()))).hexdigest()
        with_embedding = self._random.random() < self.serving.embedding_share
        for answer, embedding in zip(answers, judged.embedding, strict=True):
            row = served_row(
                answer,
                request=request,
                model=certificate.model,
                version=certificate.version,
                role=role,
                camera=frame.camera,
                sha256=sha256,
                quality=prepared.quality,
                embedding=embedding if with_embedding else None,
                kept_share=self.serving.keep_share,
            )
            if self._rows is not None:
                self._rows.add(row)

    def _count(self, loaded: Loaded, judged: Judged, role: str) -> None:
        number = loaded.model.certificate.version
        self.figures.pictures(number, role).inc(len(judged.probability))
        self.figures.batches.observe(judged.batch)

    def _show_versions(self) -> None:
        self.figures.champion.set(self.fleet.champion.source.number)
        for one in self.fleet.loaded:
            gap = one.model.parity.probability_gap
            self.figures.parity.labels(one.source.number).set(gap)

    def _note_refused(self, _number: int, _error: BesanaError) -> None:
        self.figures.models_refused.inc()

    def _note_lost(self, rows: int) -> None:
        self.figures.rows_lost.inc(rows)


_SHADOWS: set[asyncio.Task[None]] = set()
