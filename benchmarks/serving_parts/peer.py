"""The same exported model behind BentoML, run by a Python that has it: `--peer-python`.

It gets what `besana serve` gets: raw pixels of a batch, or one JPEG file a request, which BentoML's
own adaptive batching puts together. BENCH_MODEL names the ONNX file, BENCH_BATCH the batch,
BENCH_THREADS the threads. Nothing of besana is imported here.
"""

from __future__ import annotations

import os
from typing import Annotated

import bentoml
import numpy as np
import onnxruntime as ort
from bentoml.validators import ContentType
from PIL.Image import Image

_BATCH = int(os.environ.get("BENCH_BATCH", "16"))


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 2 * _BATCH})
class Peer:
    """One session of ONNX Runtime with the options that besana gives it."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("BENCH_THREADS", "1"))
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        self._session = ort.InferenceSession(os.environ["BENCH_MODEL"], options, providers)
        self._size = int(self._session.get_inputs()[0].shape[1])

    @bentoml.api(route="/tensors")
    def tensors(
        self, pixels: Annotated[bytes, ContentType("application/octet-stream")], /
    ) -> list[list[float]]:
        """Judge raw pixels, as many pictures as came."""
        images = np.frombuffer(pixels, np.uint8).reshape(-1, self._size, self._size, 3)
        return self._judged(images)

    @bentoml.api(route="/pictures", batchable=True, max_batch_size=_BATCH, max_latency_ms=5000)
    def pictures(self, images: list[Image]) -> list[list[float]]:
        """Judge JPEG files of several requests together."""
        pixels = [np.asarray(one.convert("RGB")) for one in images]
        return self._judged(np.stack(pixels))

    def _judged(self, images: np.ndarray) -> list[list[float]]:
        found: list[list[float]] = self._session.run(["probability"], {"images": images})[0]
        return np.asarray(found).tolist()
