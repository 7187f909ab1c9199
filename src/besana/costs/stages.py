"""What a stage will take: items, seconds, requests and bytes, each from, likely and to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, cast

from besana.costs.holdings import Holdings
from besana.costs.paces import Observation, Pace, pace_of
from besana.costs.ranges import Range
from besana.traffic import PART_BYTES, Traffic

NO_TRAFFIC = Traffic()
TRAIN_SHARE = 0.7
TEST_SHARE = 0.15
_SHARD_BYTES = 64_000_000
_BLOCK_BYTES = 2 << 20
_PARTITION_FRAMES = 16
_MODEL_BYTES = (200_000, 10_000_000, 200_000_000)

# GFLOP an image of 224 px, forward; what nobody knows stands between the smallest and the largest.
_GFLOP = {
    "timm/mobilenetv2_100": 0.6,
    "timm/mobilenetv3_large_100": 0.45,
    "timm/efficientnet_b0": 0.8,
    "timm/resnet18": 3.6,
    "timm/resnet34": 7.3,
    "timm/resnet50": 8.2,
    "besana/small": 0.6,
}


class Training(Protocol):
    """The settings of a training that its cost depends on."""

    strategy: str
    parallel: str
    trainers: int

    @property
    def backbone_name(self) -> str:
        """Name of the network."""

    @property
    def input_px(self) -> int:
        """Height and width of its input; 0 for its own."""

    def passes(self, samples: int) -> int:
        """Epochs for so many training samples."""


@dataclass(frozen=True)
class Requests:
    """Requests and bytes to and from a bucket: from, likely, to."""

    low: Traffic = NO_TRAFFIC
    likely: Traffic = NO_TRAFFIC
    high: Traffic = NO_TRAFFIC

    def __add__(self, other: Requests) -> Requests:
        return Requests(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def range(self, price: Callable[[Traffic], float]) -> Range:
        """Turn each of the three into a figure."""
        return Range(price(self.low), price(self.likely), price(self.high))


@dataclass(frozen=True)
class Expected:
    """What a stage will take.

    Attributes:
        stage: The verb.
        key: What its speed depends on besides the machine.
        items: Items that it will take up; for `train`, samples times epochs.
        pace: Seconds an item on this machine.
        requests: To and from a bucket, if the heavy folders lie in one.
    """

    stage: str
    key: str
    items: int
    pace: Pace
    requests: Requests

    @property
    def seconds(self) -> Range:
        """Seconds on this machine."""
        return self.pace.seconds(self.items)


def expect(
    stage: str,
    holdings: Holdings,
    config: Any,
    observations: Sequence[Observation],
    *,
    bucket: bool,
    due: bool = False,
) -> Expected:
    """Estimate one stage.

    Args:
        stage: The verb.
        holdings: What the farm holds.
        config: The stage's settings.
        observations: Earlier runs on this machine.
        bucket: Whether the heavy folders lie in a bucket.
        due: Only what is left to do, instead of the whole.
    """
    whole, left = _whole(stage, holdings), _left(stage, holdings, due=due)
    key, items = speed_key(stage, config), observed_items(stage, left, config)
    requests = Requests()
    if bucket and left and stage in _REQUESTS:
        requests = _REQUESTS[stage](holdings, config, left / whole)
    pace = _embedding_pace if stage == "embed" else partial(pace_of, stage)
    return Expected(stage, key, items, pace(key, observations), requests)


def speed_key(stage: str, config: Any) -> str:
    """Name what a stage's speed depends on besides the machine."""
    if stage == "embed":
        return f"{config.backbone} {config.size_px or 'own'} px"
    if stage == "prepare":
        return f"{config.size_px} px"
    if stage == "train":
        training = cast(Training, config)
        together = "" if training.parallel == "single" else f" {training.parallel} "
        together += str(training.trainers) if together else ""
        size = f"{training.input_px or 'own'} px"
        return f"{training.strategy} {training.backbone_name} {size}{together}"
    return ""


def expect_embedding(
    holdings: Holdings, probe: Any, observations: Sequence[Observation]
) -> Expected:
    """Estimate a vector for every sample: what a probe does to each, once.

    Args:
        holdings: What the farm holds.
        probe: Settings of a training of a probe, which name the network.
        observations: Earlier runs on this machine.
    """
    key = f"{probe.backbone_name} {probe.input_px or 'own'} px"
    pace = _embedding_pace(key, observations)
    return Expected("embed", key, holdings.samples, pace, Requests())


def _embedding_pace(key: str, observations: Sequence[Observation]) -> Pace:
    """Take the pace of embedding, or of probes of the same network, which are mostly that."""
    own = pace_of("embed", key, observations)
    return own if own.runs else pace_of("train", f"probe {key}", observations)


def observed_items(stage: str, counts_in: int, config: Any) -> int:
    """Count the items of a run as `Observation` wants them."""
    if stage != "train":
        return counts_in
    return counts_in * max(cast(Training, config).passes(counts_in), 1)


def gflop_of(training: Training) -> float | None:
    """Look up the work of a network an image; None for one that nobody measured."""
    known = _GFLOP.get(training.backbone_name)
    return None if known is None else known * ((training.input_px or 224) / 224) ** 2


def _left(stage: str, holdings: Holdings, *, due: bool) -> int:
    """Count what a stage has to take up, frames or samples."""
    done = {"clean": holdings.judged, "prepare": holdings.prepared, "predict": holdings.predictions}
    if due and stage == "collect":
        return 0  # nobody knows before the folders are walked
    whole = _whole(stage, holdings)
    return max(whole - done.get(stage, 0), 0) if due else whole


def _whole(stage: str, holdings: Holdings) -> int:
    dataset = holdings.dataset or holdings.labelled
    counts = {
        "collect": holdings.frames,
        "clean": holdings.frames,
        "prepare": holdings.frames,
        "label": holdings.labelled,
        "split": holdings.labelled,
        "embed": holdings.samples,
        "train": math.ceil(TRAIN_SHARE * dataset),
        "evaluate": math.ceil(TEST_SHARE * dataset),
        "register": 1 if dataset else 0,
        "predict": holdings.samples,
        "answers": holdings.predictions,
    }
    return counts.get(stage, 0)


def _some(low: int, high: int) -> Requests:
    """A few small objects more, read or written."""
    middle = round(math.sqrt(low * high))
    return Requests(*(Traffic(gets=n, puts=n) for n in (low, middle, high)))


def _collect(held: Holdings, _config: Any, share: float) -> Requests:
    """Ask for each file whether it is there, and write those that are not."""
    files, written_bytes = held.files * share, held.frame_bytes * share
    most = Traffic(
        gets=math.ceil(files), puts=math.ceil(files), written_bytes=math.ceil(written_bytes)
    )
    return Requests(replace(most, puts=int(0.7 * files)), most, most)


def _clean(held: Holdings, _config: Any, share: float) -> Requests:
    """Read every frame; fewer where some were kept out, more to compare a camera's views."""
    files, read_bytes = held.files * share, held.frame_bytes * share

    def reads(factor: float, views: int) -> Traffic:
        more = factor + views / max(files, 1)
        return Traffic(gets=math.ceil(more * files), read_bytes=math.ceil(more * read_bytes))

    return Requests(reads(0.7, 0), reads(1.0, 0), reads(1.1, 12))


def _prepare(held: Holdings, _config: Any, share: float) -> Requests:
    written = (held.sample_bytes or held.frames * 25_000) * share
    full = max(math.ceil(written / _SHARD_BYTES), 1)
    most = max(math.ceil(held.frames * share / _PARTITION_FRAMES) + 1, full)
    parts = math.ceil(written / PART_BYTES) if written / full > PART_BYTES else 0

    def puts(shards: int) -> int:
        large = written / shards > PART_BYTES
        return shards * (math.ceil(written / shards / PART_BYTES) + 2 if large else 1)

    low, high = sorted((min(puts(full), puts(most)), max(puts(full), puts(most), parts + most)))
    read = _clean(held, _config, share)
    return read + Requests(
        *(
            Traffic(puts=n, written_bytes=round(written * factor))
            for n, factor in ((low, 0.7), (round(math.sqrt(low * high)), 1.0), (high, 1.4))
        )
    )


def _train(held: Holdings, config: Any, share: float) -> Requests:
    """Read by blocks, whether the network learns or is judged, and a probe's samples once."""
    samples = _whole("train", held) * share / TRAIN_SHARE
    each = held.sample_bytes / max(held.samples, 1)
    passes = config.passes(round(samples * TRAIN_SHARE))
    if config.strategy == "probe" or not passes:
        low, likely = _in_order(held, 0.5 * samples), _in_order(held, samples)
        return Requests(
            Traffic(gets=round(low.low), read_bytes=round(0.5 * samples * each)),
            Traffic(gets=round(likely.likely), puts=4, read_bytes=round(samples * each)),
            Traffic(gets=round(1.3 * samples) + 40, puts=40, read_bytes=round(2 * samples * each)),
        )
    learned, checked = TRAIN_SHARE * samples, TEST_SHARE * samples
    blocks = max(learned * each / _BLOCK_BYTES, 1)
    extra = 1 if config.strategy == "finetune" else 0
    high = (passes + extra) * samples
    reads = passes * (_in_order(held, learned).likely + _in_order(held, checked).likely)
    return Requests(
        Traffic(gets=round(blocks), read_bytes=round(learned * each)),
        Traffic(
            gets=round(reads + extra * _in_order(held, samples).likely),
            puts=4,
            read_bytes=round((passes * (learned + checked) + extra * samples) * each),
        ),
        Traffic(gets=round(1.3 * high) + 40, puts=40, read_bytes=round(2 * high * each)),
    )


def _evaluate(held: Holdings, _config: Any, share: float) -> Requests:
    """Read the test samples, and some again as pictures for the page."""
    samples = _whole("evaluate", held) * share
    read = _read_samples(held, 0.3 * samples, 1.5 * samples, 4 * samples)
    return read + Requests(Traffic(), Traffic(gets=60), Traffic(gets=60)) + _some(1, 12)


def _predict(held: Holdings, _config: Any, share: float) -> Requests:
    """Read the model and every sample."""
    samples = held.samples * share
    model = Requests(*(Traffic(read_bytes=size) for size in _MODEL_BYTES))
    return _read_samples(held, 0.7 * samples, samples, samples) + model + _some(1, 12)


def _read_samples(held: Holdings, low: float, likely: float, high: float) -> Requests:
    """Read so many samples in the order of their shards."""
    each = held.sample_bytes / max(held.samples, 1)
    gets = (_in_order(held, low).low, _in_order(held, likely).likely, high)
    return Requests(
        *(
            Traffic(gets=math.ceil(count), read_bytes=round(samples * each))
            for count, samples in zip(gets, (low, likely, high), strict=True)
        )
    )


def _in_order(held: Holdings, samples: float) -> Range:
    """Count the requests for samples in the order of their shards.

    At least one a block; likely one for each of the small shards of partitions; at most one a
    sample, where the order of their names is another.
    """
    each = held.sample_bytes / max(held.samples, 1)
    blocks = max(samples * each / _BLOCK_BYTES, min(samples, 1))
    shards = held.frames * samples / max(held.samples, 1) / _PARTITION_FRAMES
    return Range(blocks, min(max(blocks, shards), samples), samples)


_REQUESTS: Mapping[str, Callable[[Holdings, Any, float], Requests]] = {
    "collect": _collect,
    "clean": _clean,
    "prepare": _prepare,
    "label": lambda _held, _config, _share: Requests(),
    "split": lambda _held, _config, _share: _some(1, 12),
    "train": _train,
    "evaluate": _evaluate,
    "register": lambda _held, _config, _share: _some(1, 40),
    "predict": _predict,
    "answers": lambda _held, _config, _share: _some(1, 12),
}
