"""What every storage promises, a folder as well as a bucket."""

import pickle
import subprocess
import sys
import threading

import pytest

from besana.errors import ConfigError, NotFoundError, StorageError
from besana.storage import Storage, open_storage

BAD_KEYS = ["", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", ".", "..", "a\0b"]


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return sorted(storage.list(prefix))


def test_read_gives_what_was_written(storage):
    data = bytes(range(256)) * 1000
    assert storage.write("ab/picture.jpg", data) is True
    assert storage.read("ab/picture.jpg") == data
    assert storage.size("ab/picture.jpg") == len(data)


def test_write_takes_a_view_without_copying_it_first(storage):
    storage.write("part", memoryview(b"0123456789")[2:5])
    assert storage.read("part") == b"234"


def test_write_of_nothing_is_an_empty_object(storage):
    storage.write("empty", b"")
    assert storage.read("empty") == b""
    assert storage.size("empty") == 0
    assert storage.read_range("empty", 0, 10) == b""


def test_write_replaces(storage):
    storage.write("a", b"first, and longer")
    assert storage.write("a", b"second") is True
    assert storage.read("a") == b"second"


def test_write_without_replace_keeps_what_is_there(storage):
    assert storage.write("a", b"first", replace=False) is True
    assert storage.write("a", b"second", replace=False) is False
    assert storage.read("a") == b"first"


def test_write_without_replace_lets_exactly_one_of_many_win(storage):
    storage.write("warm", b"")
    start = threading.Barrier(8)
    won = []

    def write(number):
        start.wait()
        if storage.write("pointer", f"{number}".encode() * 100_000, replace=False):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("pointer") == f"{won[0]}".encode() * 100_000


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 4, b"0123"),
        (7, 3, b"789"),
        (7, 100, b"789"),
        (10, 5, b""),
        (99, 5, b""),
        (3, 0, b""),
        (0, 10, b"0123456789"),
    ],
)
def test_read_range_gives_what_is_there(storage, offset, length, expected):
    storage.write("digits", b"0123456789")
    assert storage.read_range("digits", offset, length) == expected


def test_missing_keys_are_not_found(storage):
    storage.write("folder/file", b"x")
    for key in ("nothing", "folder", "folder/file/below", "folder/nothing"):
        assert storage.size(key) is None
    with pytest.raises(NotFoundError, match="No 'nothing' in "):
        storage.read("nothing")
    with pytest.raises(NotFoundError):
        storage.read_range("nothing", 0, 1)
    with pytest.raises(NotFoundError):
        storage.read("folder/file/below")


def test_delete_removes_and_may_be_repeated(storage):
    storage.write("a/b", b"x")
    storage.delete("a/b")
    storage.delete("a/b")
    storage.delete("never/was")
    assert storage.size("a/b") is None
    assert keys(storage) == []


def test_list_gives_the_keys_below_a_prefix(storage):
    for key in ("ab/1", "ab/2", "ab/deep/3", "abc/4", "b", "with space/ä"):
        storage.write(key, b"x")
    assert keys(storage) == ["ab/1", "ab/2", "ab/deep/3", "abc/4", "b", "with space/ä"]
    assert keys(storage, "ab/") == ["ab/1", "ab/2", "ab/deep/3"]
    assert keys(storage, "ab") == ["ab/1", "ab/2", "ab/deep/3", "abc/4"]
    assert keys(storage, "ab/d") == ["ab/deep/3"]
    assert keys(storage, "nothing/") == []


def test_list_of_an_empty_storage_is_empty(storage):
    assert keys(storage) == []


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_that_leave_the_storage_are_refused(storage, key):
    with pytest.raises(StorageError, match="is not a key"):
        storage.read(key)
    with pytest.raises(StorageError, match="is not a key"):
        storage.write(key, b"x")
    with pytest.raises(StorageError, match="is not a key"):
        storage.size(key)
    with pytest.raises(StorageError, match="is not a key"):
        storage.delete(key)


def test_list_does_not_leave_the_storage(storage):
    storage.write("inside", b"x")
    with pytest.raises(StorageError, match="is not a key"):
        list(storage.list("../"))


def test_open_writer_publishes_when_the_block_ends_well(storage):
    with storage.open_writer("shards/a") as file:
        for piece in range(20):
            file.write(bytes([piece]) * 500_000)
        assert keys(storage) == []
        assert storage.size("shards/a") is None
    assert storage.size("shards/a") == 20 * 500_000
    assert storage.read_range("shards/a", 499_999, 2) == b"\x00\x01"


def test_open_writer_leaves_nothing_when_the_block_fails(storage):
    storage.write("shards/a", b"old")
    with pytest.raises(ZeroDivisionError), storage.open_writer("shards/a") as file:
        file.writelines(b"new" * (1 // number) for number in (1, 0))
    assert storage.read("shards/a") == b"old"
    assert keys(storage) == ["shards/a"]


def test_below_is_a_part_of_the_storage(storage):
    storage.below("models").write("cow/1/model.json", b"{}")
    assert storage.read("models/cow/1/model.json") == b"{}"
    assert keys(storage.below("models")) == ["cow/1/model.json"]


def test_a_storage_travels_to_workers(storage):
    storage.write("a", b"x")
    assert len(pickle.dumps(storage)) < 1000
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"x"  # noqa: S301  # our own bytes


def test_a_killed_writer_leaves_no_half_object(storage):
    program = (
        "import os, sys; from besana.storage import open_storage\n"
        "with open_storage(sys.argv[1]).open_writer('shards/a') as file:\n"
        "    file.write(b'x' * 5_000_000); file.flush(); os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, storage.url], check=False).returncode < 0
    assert keys(storage) == []
    assert storage.size("shards/a") is None
    storage.write("shards/a", b"again")
    assert keys(storage) == ["shards/a"]


def test_a_refusing_storage_says_what_it_was_doing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="below"):
        open_storage(tmp_path / "file").write("below", b"x")


def test_a_bucket_that_is_not_there_is_an_error(s3_bucket):
    nowhere = open_storage("s3://no-such-bucket-here")
    with pytest.raises(StorageError, match="no-such-bucket-here"):
        nowhere.write("a", b"x")
    with pytest.raises(StorageError, match="no-such-bucket-here"):
        list(nowhere.list())


def test_unknown_storage_is_an_error():
    with pytest.raises(ConfigError, match="Unknown storage 'ftp://host/x'"):
        open_storage("ftp://host/x")
