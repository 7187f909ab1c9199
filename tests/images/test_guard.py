"""A picture that takes too much ends its worker, and only that picture is lost."""

from functools import partial

import pytest
from endless import look

from besana.engines import open_engine
from besana.errors import ConfigError, CorruptDataError, NotFoundError
from besana.images.guard import Bounds, attempt


@pytest.mark.parametrize("endless", ["spins", pytest.param("hangs", marks=pytest.mark.slow)])
def test_endless_picture_ends_only_itself(endless: str) -> None:
    work = partial(look, bounds=Bounds(decode_cpu_s=1, decode_wall_s=2))
    engine = open_engine("local", 1)
    found = engine.map(work, [["a", endless, "b"]], on_death=lambda item: [f"died: {item}"])
    assert sorted(item for items in found for item in items) == ["a", "b", f"died: {endless}"]


def test_exploding_picture_is_an_error_of_memory() -> None:
    work = partial(look, bounds=Bounds(decode_memory_bytes=100_000_000))
    with pytest.raises(MemoryError):
        list(open_engine("local", 1).map(work, [["a", "explodes"]]))


def raising(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CorruptDataError("no", reason="truncated"), "truncated"),
        (NotFoundError("gone"), "missing"),
        (MemoryError(), "decoder_died"),
        (ZeroDivisionError("in a decoder"), "damaged"),
    ],
)
def test_what_is_wrong_with_a_picture_is_data(error: Exception, reason: str) -> None:
    outcome = attempt(partial(raising, error))
    assert isinstance(outcome, CorruptDataError)
    assert outcome.reason == reason


def test_what_is_wrong_with_the_run_is_raised() -> None:
    with pytest.raises(ConfigError):
        attempt(partial(raising, ConfigError("no such setting")))
