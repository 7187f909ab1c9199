import functools
import operator
import os

import jobs
import pytest

from besana.engines import open_engine
from besana.errors import BesanaError, ConfigError, CorruptDataError


def test_map_runs_every_partition_once():
    partitions = [list(range(start, start + 10)) for start in range(0, 100, 10)]
    summaries = open_engine(workers=2).map(jobs.add, partitions)
    assert sorted(summaries) == [sum(partition) for partition in partitions]


def test_map_draws_partitions_only_when_a_worker_can_take_them():
    drawn = []

    def endless():
        number = 0
        while True:
            drawn.append(number)
            yield [number]
            number += 1

    summaries = open_engine(workers=2).map(jobs.add, endless())
    assert len([next(summaries) for _ in range(5)]) == 5
    summaries.close()
    assert len(drawn) <= 5 + 2 * 2


def test_map_raises_the_error_of_a_worker_with_its_reason():
    with pytest.raises(CorruptDataError, match="Three is broken") as caught:
        list(open_engine(workers=1).map(jobs.refuse_three, [[1], [2, 3], [4]]))
    assert caught.value.reason == "damaged"


def test_map_finds_the_one_item_that_kills_its_worker():
    summaries = open_engine(workers=2).map(
        jobs.die_on_seven, [list(range(10)), [10, 11]], on_death=lambda item: [-item]
    )
    everything = sorted(functools.reduce(operator.iadd, summaries, []))
    assert everything == [-7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]


def test_map_without_on_death_says_that_a_worker_died():
    with pytest.raises(BesanaError, match="exit status -9"):
        list(open_engine(workers=1).map(jobs.die_on_seven, [[7]]))


def test_map_measures_the_memory_of_its_workers():
    engine = open_engine(workers=1)
    assert engine.peak_memory_bytes == 0
    list(engine.map(jobs.add, [[1]]))
    assert engine.peak_memory_bytes > 5_000_000


def test_closing_the_map_ends_the_workers():
    summaries = open_engine(workers=1).map(jobs.process_id, [[1], [2], [3]])
    worker = next(summaries)
    summaries.close()
    assert not os.path.exists(f"/proc/{worker}")


def test_unknown_engine_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match="Did you mean 'local'"):
        open_engine("locla")
