"""Objects are whole or not there, byte for byte, on a folder and on the storage emulator."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from beam_pipelines.landing.files import atomic_writer, exists, list_files, read_bytes, read_landed, write_atomically
from coinbeam.errors import TerminalError
from coinbeam.landing.layout import pack

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def break_in_the_middle(uri: str) -> None:
    with atomic_writer(uri) as sink:
        sink.write(b"half")
        raise ZeroDivisionError


def test_a_gz_name_does_not_make_beam_unpack_or_pack(tmp_path: Path) -> None:
    uri = f"{tmp_path}/deep/er/page.json.gz"
    write_atomically(uri, b"\x1f\x8b not really")
    assert read_bytes(uri) == Path(uri).read_bytes() == b"\x1f\x8b not really"


def test_an_exception_leaves_neither_the_object_nor_a_trace(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        break_in_the_middle(f"{tmp_path}/file")
    assert not list(tmp_path.iterdir())


def test_an_exception_leaves_the_older_object_as_it_was(tmp_path: Path) -> None:
    write_atomically(f"{tmp_path}/file", b"old")
    with pytest.raises(ZeroDivisionError):
        break_in_the_middle(f"{tmp_path}/file")
    assert read_bytes(f"{tmp_path}/file") == b"old"


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_atomically(f"{tmp_path}/file", b"a longer content")
    write_atomically(f"{tmp_path}/file", b"short")
    assert read_bytes(f"{tmp_path}/file") == b"short"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_are_listed_by_name_and_no_folder_is_no_error(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "c.txt"):
        write_atomically(f"{tmp_path}/{name}", b"")
    assert [uri.rpartition("/")[2] for uri in list_files(f"{tmp_path}/*.json")] == ["a.json", "b.json"]
    assert list_files(f"{tmp_path}/none/*") == []


def test_a_landed_body_knows_its_moment_and_a_foreign_one_takes_that_of_the_file(tmp_path: Path) -> None:
    write_atomically(f"{tmp_path}/page-00001.json.gz", pack(b"[]", NOW))
    write_atomically(f"{tmp_path}/foreign.json", b"[]")
    assert read_landed(f"{tmp_path}/page-00001.json.gz").landed_at == NOW
    assert read_landed(f"{tmp_path}/foreign.json").landed_at.timestamp() == int(
        (tmp_path / "foreign.json").stat().st_mtime
    )


def test_a_body_that_is_gone_is_a_terminal_error(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="cannot be read"):
        read_landed(f"{tmp_path}/none.json")
    assert not exists(f"{tmp_path}/none.json")
