"""The price book: its form, its sums, a copy of somebody's own."""

from __future__ import annotations

import datetime as dt
from importlib.resources import files

import pytest

from besana.costs.loose import in_shards, loose_files
from besana.costs.prices import read_prices
from besana.costs.ranges import Range, total
from besana.costs.settings import cloud_of, read_costs
from besana.errors import ConfigError, NotFoundError
from besana.traffic import Traffic
from besana.workspace import Workspace

OWN = (files("besana.costs") / "prices.toml").read_text()


def test_a_range_keeps_its_order_through_sums_and_quotients():
    span = Range.between(2, 8) * Range.between(1, 3) + 1
    assert (span.low, span.high) == (3, 25)
    assert span.low < span.likely < span.high
    quotient = Range.exactly(12).per(Range(2, 3, 4))
    assert quotient == Range(3, 4, 6)
    assert total([span, Range.exactly(1)]).high == 26
    assert total([]).likely == 0


def test_every_price_says_where_it_stands_and_since_when():
    for name, entry in read_prices(None).dated():
        assert entry.source, name
        assert dt.date(2024, 1, 1) < entry.taken <= dt.datetime.now(dt.UTC).date(), name


def test_what_was_not_verified_is_named_by_entry_and_price():
    book = read_prices(None)
    memory = book.unverified()
    assert {"machines.google-t4.hour", "serving.aws.hour", "energy.kwh"} <= set(memory)
    assert not [name for name in memory if name.startswith(("clouds.", "machines.aws-t4."))]
    for name, entry in book.dated():
        own = entry.source == "your own meter"
        assert own or entry.seen or entry.unverified, name


def test_prices_of_requests_and_bytes():
    aws = read_prices(None).cloud("aws")
    traffic = Traffic(puts=10_000_000, lists=1000, gets=50_000_000, deletes=10**9)
    assert aws.requests(traffic) == pytest.approx(50 + 0.005 + 20)
    assert aws.month(100e9) == pytest.approx(2.3)
    assert aws.egress(101e9, free_bytes=100e9) == pytest.approx(0.09)
    assert aws.egress(5e9, free_bytes=100e9) == 0


def test_a_machine_of_your_own_costs_current_and_a_rented_one_its_hours():
    book = read_prices(None)
    ten = Range.exactly(10)
    own = book.machine("my-pc").price(ten, book.energy)
    assert (own.low, own.high) == (pytest.approx(0.08 * 10 * 0.15), pytest.approx(0.25 * 10 * 0.4))
    assert book.machine("aws-t4").price(ten, book.energy) == Range.exactly(5.26)


def test_a_larger_network_is_slower_and_an_unknown_one_uncertain():
    machine = read_prices(None).machine("aws-t4")
    small, large = machine.images_per_s(0.6), machine.images_per_s(8.2)
    assert (small.low, small.high) == (250, 700)
    assert (large.low, large.high) == (110, 300)
    between = machine.images_per_s(3.6)
    assert large.likely < between.likely < small.likely
    assert machine.images_per_s(0.01) == small
    unknown = machine.images_per_s(None)
    assert (unknown.low, unknown.high) == (110, 700)


def test_old_prices_are_named():
    book = read_prices(None)
    taken = book.cloud("aws").taken
    assert "clouds.aws" not in book.older_than(365, taken + dt.timedelta(days=365))
    assert "clouds.aws" in book.older_than(365, taken + dt.timedelta(days=366))


def test_a_book_of_your_own_replaces_it(tmp_path):
    (tmp_path / "mine.toml").write_text(OWN.replace("gb_month = 0.023", "gb_month = 0.5"))
    settings = '[costs]\nprices = "mine.toml"\nmachine = "google-t4"\n'
    farm = Workspace.create(tmp_path, settings)
    costs, book = read_costs(farm)
    assert book.cloud("aws").gb_month == 0.5
    assert costs.machine == "google-t4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("gb_month = 0.023", "gb_month = -1"), "clouds.aws.gb_month"),
        (("gb_month = 0.023", 'gb_month = "dear"'), "clouds.aws.gb_month"),
        (("gb_month = 0.023", "gb_month = 0.023\ngb_year = 1"), "gb_year"),
        (("kwh = [0.15, 0.40]", "kwh = [0.15]"), "energy.kwh"),
        (("small = [250, 700]", "small = [0, 0]"), "has no speed"),
        (('cloud = "aws"', 'cloud = "oracle"'), "no cloud 'oracle'"),
        (('unverified = ["kwh"]', 'unverified = ["kwk"]'), "'kwk', which is no price"),
    ],
)
def test_a_wrong_book_is_an_error_that_names_the_entry(tmp_path, change, message):
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(ConfigError, match=message):
        read_prices(path)


def test_a_book_that_is_not_there_and_a_machine_that_it_lacks(tmp_path):
    with pytest.raises(NotFoundError, match=r"mine\.toml"):
        read_costs(Workspace.create(tmp_path / "a", '[costs]\nprices = "mine.toml"\n'))
    with pytest.raises(ConfigError, match="no machine 'cray'"):
        read_costs(Workspace.create(tmp_path / "b", '[costs]\nmachine = "cray"\n'))


@pytest.mark.parametrize(
    ("table", "store", "cloud"),
    [
        ("", "", ""),
        ("", "/mnt/disk", ""),
        ("", "s3://farms/a", "aws"),
        ("", "gs://farms/a", "google"),
        ("", "az://farms/a", "azure"),
        ('cloud = "none"', "s3://farms/a", ""),
        ('cloud = "google"', "s3://farms/a", "google"),
    ],
)
def test_the_cloud_is_told_by_the_store_or_by_its_name(tmp_path, table, store, cloud):
    costs, _ = read_costs(Workspace.create(tmp_path, f"[costs]\n{table}\n"))
    assert cloud_of(costs, store) == cloud


def test_shards_ask_for_less_than_loose_files():
    loose = loose_files(1_000_000, 25 * 10**9, epochs=10)
    shards = in_shards(1_000_000, 25 * 10**9, epochs=10)
    assert (loose.puts, loose.lists, loose.gets) == (1_000_000, 10_000, 10_000_000)
    assert loose.read_bytes == shards.read_bytes == 250 * 10**9
    aws = read_prices(None).cloud("aws")
    assert aws.requests(loose) == pytest.approx(5 + 0.05 + 4)
    assert aws.requests(shards) < 0.15


def test_the_bucket_that_cost_75_dollars():
    """The worked page's figures: docs/explanation/what-it-costs.md."""
    aws = read_prices(None).cloud("aws")
    tiles, tile_bytes = 8_000_000, 12_000
    written = Traffic(puts=tiles)
    listed = Traffic(lists=4 * tiles // 1000)
    read = Traffic(gets=10 * tiles)
    stored = aws.month(tiles * tile_bytes) * 4 / 30
    parts = [aws.requests(written), aws.requests(listed), aws.requests(read), stored]
    assert parts == pytest.approx([40, 0.16, 32, 0.294], abs=0.001)
    moved = aws.egress(tiles * tile_bytes * 1.3, free_bytes=100e9)
    assert moved == pytest.approx(2.23, abs=0.01)
    assert sum(parts) + moved == pytest.approx(74.69, abs=0.01)
    packed = in_shards(tiles, tiles * tile_bytes, epochs=10)
    assert aws.requests(packed) == pytest.approx(0.29, abs=0.01)
