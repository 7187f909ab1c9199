"""Partitions on a Spark cluster: tasks read and write bytes themselves, summaries come back."""

from __future__ import annotations

import atexit
import collections
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from typing_extensions import override

from besana import traffic
from besana.engines.base import Engine, Item, Summary
from besana.engines.worker import run_partition
from besana.errors import BesanaError, ConfigError, MissingExtraError

# A wave is one Spark job; a second one fills the slots that the last tasks of a wave leave.
_TASKS_A_SLOT = 2
_WAVES = 2

# What Spark says when the process that ran a task is gone.
_CRASHED = ("Python worker exited unexpectedly", "Python worker failed to connect back")

Outcome = tuple[bool, Any, int, traffic.Traffic]


class SparkEngine(Engine):
    """Run partitions as tasks of Spark.

    The master comes from spark-submit, `PYSPARK_SUBMIT_ARGS` or `spark-defaults.conf`; without
    one Spark runs in this machine's processes. Tasks may run twice (an executor was lost, a slow
    one was speculated): what they write is whole or nothing and named by the partition.

    Args:
        workers: How many partitions at the same time; None means as many as Spark has slots.

    Raises:
        MissingExtraError: If pyspark or Java is not installed.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"{workers} workers cannot work.", "Use at least 1.")
        self._context = _open_context(workers)
        self.workers = workers or int(self._context.defaultParallelism)
        self.peak_memory_bytes = 0

    @override
    def map(
        self,
        function: Callable[[Sequence[Item]], Summary],
        partitions: Iterable[Sequence[Item]],
        *,
        on_death: Callable[[Item], Summary] | None = None,
    ) -> Iterator[Summary]:
        drawn = iter(partitions)
        returned: collections.deque[Sequence[Item]] = collections.deque()
        running: dict[Future[list[Outcome]], list[Sequence[Item]]] = {}
        with ThreadPoolExecutor(_WAVES) as pool:
            try:
                while self._fill(pool, running, returned, drawn, function):
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        wave = running.pop(done)
                        error = done.exception()
                        if error is None:
                            yield from self._summaries(done.result())
                        else:
                            yield from _after_failure(error, wave, returned, on_death)
            finally:
                if running:
                    self._context.cancelJobGroup(_group(self))

    def _fill(
        self,
        pool: ThreadPoolExecutor,
        running: dict[Future[list[Outcome]], list[Sequence[Any]]],
        returned: collections.deque[Sequence[Any]],
        drawn: Iterator[Sequence[Any]],
        function: Callable[[Sequence[Any]], Any],
    ) -> bool:
        """Start waves until as many run as may; True while any does."""
        while len(running) < _WAVES:
            if returned:
                # What failed in a wave is tried by itself, so that the guilty one is found.
                wave = [returned.popleft()]
            else:
                wave = list(itertools.islice(drawn, _TASKS_A_SLOT * self.workers))
            if not wave:
                break
            running[pool.submit(self._run, function, wave)] = wave
        return bool(running)

    def _run(
        self, function: Callable[[Sequence[Any]], Any], wave: list[Sequence[Any]]
    ) -> list[Outcome]:
        self._context.setJobGroup(_group(self), "besana", interruptOnCancel=True)
        tasks = self._context.parallelize(wave, len(wave))
        outcomes: list[Outcome] = tasks.map(partial(run_partition, function)).collect()
        return outcomes

    def _summaries(self, outcomes: Iterable[Outcome]) -> Iterator[Any]:
        for good, outcome, peak_memory_bytes, requests in outcomes:
            self.peak_memory_bytes = max(self.peak_memory_bytes, peak_memory_bytes)
            traffic.METER.add(requests)
            if not good:
                raise outcome
            yield outcome


def _group(engine: SparkEngine) -> str:
    return f"besana-{id(engine)}"


def _after_failure(
    error: BaseException,
    wave: list[Sequence[Any]],
    returned: collections.deque[Sequence[Any]],
    on_death: Callable[[Any], Any] | None,
) -> Iterator[Any]:
    """Find the item that ends its process: each partition alone, then halved."""
    crashed = any(words in str(error) for words in _CRASHED)
    if not crashed or on_death is None:
        what = "A worker process died" if crashed else "Spark failed"
        raise BesanaError(
            f"{what}: {_reason(error)}",
            "See Spark's log; run the same command again to continue.",
        ) from None
    if len(wave) > 1:
        returned.extend(wave)
    elif len(wave[0]) == 1:
        yield on_death(wave[0][0])
    else:
        middle = len(wave[0]) // 2
        returned.extend((wave[0][:middle], wave[0][middle:]))


def _reason(error: BaseException) -> str:
    """Give the line of a Java error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = (line for line in lines if "Exception" in line or "Error" in line)
    return next(telling, lines[0] if lines else type(error).__name__)[:300]


def _open_context(workers: int | None) -> Any:
    """Open Spark as it was submitted, or in this machine's processes."""
    # Executors on this machine must not fall back on whatever `python3` is there.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        from pyspark import SparkConf, SparkContext
        from pyspark.errors import PySparkRuntimeError
    except ImportError:
        raise MissingExtraError(
            "The engine 'spark' needs pyspark.", 'Run: pip install "besana[spark]"'
        ) from None
    try:
        SparkContext._ensure_initialized()  # only the JVM knows what was submitted
        settings = SparkConf()
        if not settings.contains("spark.master"):
            settings.setMaster(f"local[{workers or '*'}]")
        settings.setIfMissing("spark.app.name", "besana")
        settings.setIfMissing("spark.ui.showConsoleProgress", "false")
        settings.setIfMissing("spark.executorEnv.OMP_NUM_THREADS", "1")
        context = SparkContext.getOrCreate(settings)
        atexit.register(context.stop)  # so that executors end before the JVM does
    except (PySparkRuntimeError, FileNotFoundError) as error:
        raise MissingExtraError(
            f"Spark did not start: {_reason(error)}", "Install Java 17 or later and set JAVA_HOME."
        ) from None
    context.setLogLevel("ERROR")
    return context
