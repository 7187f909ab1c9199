"""The whole way on each machine of the price book: hours, money, and what would be cheaper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from besana.costs.holdings import Holdings
from besana.costs.paces import Observation, cores
from besana.costs.prices import Machine, PriceBook
from besana.costs.ranges import NONE, Range, total
from besana.costs.settings import CostSettings, cloud_of
from besana.costs.stages import Expected, Training, expect, expect_embedding, gflop_of
from besana.traffic import Traffic

_LEARNING = ("embed", "train", "evaluate", "predict")
_FORWARD_ONLY = 3.0
STRATEGIES = ("probe", "finetune", "scratch")
_OTHER_CORES = Range(0.6, 1.0, 1.6)
_SPOT_REPEATS = Range(1.0, 1.05, 1.3)


@dataclass(frozen=True)
class Case:
    """What is planned; a cheaper way is another case.

    Attributes:
        holdings: What the farm holds at the end.
        stages: The stages to walk, in order.
        configs: Settings by stage.
        machine: Name of the machine in the price book.
        store: `store` of the workspace; empty for a disk.
        keep_originals: Whether the original frames lie in the bucket, too.
        label_s: Seconds a label.
        labels: Labels to give.
        serves: Whether a machine answers requests all month.
    """

    holdings: Holdings
    stages: Sequence[str]
    configs: Mapping[str, Any]
    machine: str
    store: str
    label_s: Range
    labels: int
    keep_originals: bool = True
    serves: bool = True
    same_region: bool = False


@dataclass(frozen=True)
class Offer:
    """What a case costs.

    Attributes:
        title: The machine.
        hours: Hours of the machine for the whole way, once.
        work: Money for those hours.
        requests: Money for requests and for bytes that leave the cloud, once.
        storage_month: Money for keeping the bytes a month.
        serving_month: Money for a machine that answers, a month.
        label_hours: Hours of labelling, once.
        labelling: Money for those hours.
    """

    title: str
    hours: Range
    work: Range
    requests: Range
    storage_month: Range
    serving_month: Range
    label_hours: Range
    labelling: Range

    @property
    def once(self) -> Range:
        """What the way costs once, labelling included."""
        return self.work + self.requests + self.labelling

    @property
    def month(self) -> Range:
        """What it costs each month."""
        return self.storage_month + self.serving_month

    @property
    def first_month(self) -> Range:
        """What is spent when the first month is over."""
        return self.once + self.month


@dataclass(frozen=True)
class Planner:
    """Prices cases.

    Attributes:
        book: The price book.
        settings: The `[costs]` table.
        observations: Runs of this machine.
    """

    book: PriceBook
    settings: CostSettings
    observations: Sequence[Observation]

    def expected(self, case: Case) -> list[Expected]:
        """Estimate each stage of a case, as on this machine."""
        bucket = bool(self._cloud(case)) or "://" in case.store
        return [
            expect(name, case.holdings, case.configs[name], self.observations, bucket=bucket)
            for name in case.stages
        ]

    def offer(self, case: Case) -> Offer:
        """Price a case."""
        machine, cloud = self.book.machine(case.machine), self._cloud(case)
        expected = self.expected(case)
        seconds = total([self._seconds(machine, stage, case) for stage in expected])
        if machine.kind == "spot":
            seconds = seconds * _SPOT_REPEATS
        if machine.kind != "own":
            seconds = seconds + Range.between(*machine.start_s)
        hours = seconds * (1 / 3600)
        label_hours = case.label_s * (case.labels / 3600)
        return Offer(
            title=machine.title,
            hours=hours,
            work=machine.price(hours, self.book.energy),
            requests=self._requests(case, expected, cloud),
            storage_month=Range.exactly(self._storage(case, cloud)),
            serving_month=self.book.serving_month(machine.cloud or "own") if case.serves else NONE,
            label_hours=label_hours,
            labelling=label_hours * self.settings.label_hour,
        )

    def learning_hours(self, case: Case) -> list[tuple[Machine, list[Range]]]:
        """Estimate embedding all samples, and each way of training, on each machine.

        Returns:
            Machines with hours for the embedding, a probe, finetuning and training from scratch.
            The case's own way is taken with its settings, the others with their defaults.
        """
        chosen = case.configs["train"]
        ways = [
            chosen if name == chosen.strategy else type(chosen)(strategy=name)
            for name in STRATEGIES
        ]
        rows = []
        for machine in self.book.machines.values():
            embedding = expect_embedding(case.holdings, ways[0], self.observations)
            hours = [self._hours(machine, embedding, case, ways[0])]
            for way in ways:
                expected = expect("train", case.holdings, way, self.observations, bucket=False)
                hours.append(self._hours(machine, expected, case, way))
            rows.append((machine, hours))
        return rows

    def _hours(self, machine: Machine, expected: Expected, case: Case, way: Any) -> Range:
        seconds = self._seconds(machine, expected, replace(case, configs={"train": way}))
        return seconds * (1 / 3600)

    def _cloud(self, case: Case) -> str:
        """Name the cloud that keeps the bytes: the machine's own, or the store's."""
        return self.book.machine(case.machine).cloud or cloud_of(self.settings, case.store)

    def _seconds(self, machine: Machine, stage: Expected, case: Case) -> Range:
        if machine.kind == "own" or not stage.items:
            return stage.seconds
        if stage.stage not in _LEARNING:
            return stage.seconds * (cores() / (machine.cores or cores())) * _OTHER_CORES
        training = cast(Training, case.configs["train"])
        speed = machine.images_per_s(gflop_of(training))
        forward_only = stage.stage != "train" or training.strategy == "probe"
        return Range.exactly(stage.items).per(speed * (_FORWARD_ONLY if forward_only else 1.0))

    def _requests(self, case: Case, expected: Sequence[Expected], name: str) -> Range:
        if not name:
            return NONE
        cloud = self.book.cloud(name)
        leaves = self.book.machine(case.machine).cloud == "" and not case.same_region
        free_bytes = cloud.egress_free_gb * 1e9

        def price(traffic: Traffic) -> float:
            egress = cloud.egress(traffic.read_bytes, free_bytes) if leaves else 0.0
            return cloud.requests(traffic) + egress

        low, likely, high = Traffic(), Traffic(), Traffic()
        for stage in expected:
            low += stage.requests.low
            likely += stage.requests.likely
            high += stage.requests.high
        return Range(price(low), price(likely), price(high))

    def _storage(self, case: Case, name: str) -> float:
        held = case.holdings
        stored_bytes = held.sample_bytes + (held.frame_bytes if case.keep_originals else 0)
        return self.book.cloud(name).month(stored_bytes) if name else 0.0

    def cheaper(self, case: Case) -> list[tuple[str, Range, float]]:
        """Find the changes that save most until the first month is over, at most three.

        Returns:
            A phrase, what is spent then, and how much less that likely is.
        """
        before = self.offer(case).first_month.likely
        found = []
        for phrase, changed in self._changes(case):
            after = self.offer(changed).first_month
            if before - after.likely > 0.005:
                found.append((phrase, after, before - after.likely))
        return sorted(found, key=lambda change: -change[2])[:3]

    def _changes(self, case: Case) -> Iterator[tuple[str, Case]]:
        machine = self.book.machine(case.machine)
        cloud = self._cloud(case)
        for name, other in self.book.machines.items():
            if other.kind == "spot" and other.cloud == machine.cloud and machine.kind != "spot":
                yield (
                    "Take a spot machine; a checkpoint lies behind every interruption",
                    replace(case, machine=name),
                )
            if other.kind == "own" and machine.kind != "own":
                yield "Do it on your own PC, on its disk", replace(case, machine=name, store="")
        if cloud:
            kept = replace(case, keep_originals=False)
            yield "Keep the originals on a disk and only the shards in the bucket", kept
        if cloud and not machine.cloud:
            yield "Work in the bucket's own region", replace(case, same_region=True)
            yield "Keep everything on this machine's disk", replace(case, store="")
        train = case.configs.get("train")
        if "train" in case.stages and train is not None and train.strategy != "probe":
            probe = type(train)(strategy="probe", backbone=train.backbone)
            yield (
                "Train a probe first; often it is enough",
                replace(case, configs={**case.configs, "train": probe}),
            )
        if case.serves:
            yield "Predict in batches instead of serving all month", replace(case, serves=False)
