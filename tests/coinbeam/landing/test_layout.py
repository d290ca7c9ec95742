"""Landing keeps the exact bytes, says when they came, and tells a cut object from a whole one."""

import gzip
import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.batch.manifest import BatchManifest
from coinbeam.errors import TerminalError
from coinbeam.landing.layout import (
    folder,
    newest_revisions,
    object_name,
    pack,
    page_stem,
    read_manifest,
    stem_and_revision,
    unpack,
)

LANDED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODIFIED = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
URI = "gs://b/landing/markets/x/page-00001.json.gz"
SECONDS = st.datetimes(datetime(2013, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - naive bounds
    lambda moment: moment.replace(microsecond=0)
)
MANIFEST = BatchManifest("b", "markets", "coingecko", LANDED, "usd", 250, "all")


@given(st.binary(max_size=2_000), SECONDS)
def test_the_exact_bytes_and_the_moment_come_back(body: bytes, moment: datetime) -> None:
    landed = unpack(pack(body, moment), URI, MODIFIED)
    assert landed.body == body
    assert landed.landed_at == moment
    assert landed.uri == URI


@given(st.binary(max_size=500), SECONDS)
def test_the_same_body_at_the_same_instant_gives_the_same_object(body: bytes, moment: datetime) -> None:
    assert pack(body, moment) == pack(body, moment)


@given(st.binary(max_size=500), SECONDS, st.integers(1, 10_000))
def test_the_moment_changes_nothing_but_the_four_bytes_that_hold_it(body: bytes, moment: datetime, later: int) -> None:
    one, other = pack(body, moment), pack(body, moment + timedelta(seconds=later))
    assert one[:4] + one[8:] == other[:4] + other[8:]
    assert one != other


def test_any_gzip_reads_a_landed_object() -> None:
    assert gzip.decompress(pack(b"[1, 2]" * 1_000, LANDED)) == b"[1, 2]" * 1_000


def test_a_large_page_is_landed_much_smaller() -> None:
    page = json.dumps([{"id": f"coin-{n}", "current_price": n * 1.5, "name": "Coin"} for n in range(2_000)]).encode()
    assert len(pack(page, LANDED)) < len(page) / 3


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_cut_object_is_never_taken_for_a_page(body: bytes, data: st.DataObject) -> None:
    packed = pack(body, LANDED)
    cut = packed[: data.draw(st.integers(2, len(packed) - 1))]
    with pytest.raises(TerminalError, match="page-00001"):
        unpack(cut, URI, MODIFIED)


def test_an_object_damaged_in_the_middle_is_refused_and_named() -> None:
    packed = bytearray(pack(random.Random(1).randbytes(5_000), LANDED))
    packed[-6] ^= 0xFF
    with pytest.raises(TerminalError, match=r"page-00001\.json\.gz is not a readable gzip file"):
        unpack(bytes(packed), URI, MODIFIED)


def test_a_foreign_file_of_several_gzip_members_is_read_to_its_end() -> None:
    assert unpack(gzip.compress(b"[1,") + gzip.compress(b"2]"), "captures/page.json.gz", MODIFIED).body == b"[1,2]"


def test_a_whole_object_followed_by_garbage_is_refused() -> None:
    with pytest.raises(TerminalError, match="page-00001"):
        unpack(pack(b"[1]", LANDED) + b"garbage", URI, MODIFIED)


@given(st.binary(max_size=200).filter(lambda raw: not raw.startswith(b"\x1f\x8b")))
def test_a_foreign_plain_file_is_taken_as_it_is(raw: bytes) -> None:
    landed = unpack(raw, "captures/page.json", MODIFIED)
    assert landed.body == raw
    assert landed.landed_at == MODIFIED


def test_a_foreign_gzip_file_without_a_moment_was_landed_when_it_was_last_changed() -> None:
    assert unpack(gzip.compress(b"[]", mtime=0), "captures/page.json.gz", MODIFIED).landed_at == MODIFIED


@given(st.integers(1, 99_999), st.integers(1, 50))
def test_a_name_tells_its_page_and_revision(number: int, revision: int) -> None:
    assert stem_and_revision(f"gs://b/x/{object_name(page_stem(number), revision)}") == (page_stem(number), revision)


def test_a_foreign_file_is_a_page_of_its_own() -> None:
    assert stem_and_revision("/tmp/whatever.json") == ("whatever.json", 1)


@given(st.dictionaries(st.integers(1, 30), st.integers(1, 12), min_size=1), st.randoms())
def test_of_each_page_the_newest_revision_counts(pages: dict[int, int], shuffle: random.Random) -> None:
    root = "gs://b/landing/markets/x"
    names = [f"{root}/{object_name(page_stem(n), r)}" for n, last in pages.items() for r in range(1, last + 1)]
    shuffle.shuffle(names)
    expected = [f"{root}/{object_name(page_stem(n), pages[n])}" for n in sorted(pages)]
    assert newest_revisions([*names, f"{root}/_manifest.json", f"{root}/.hidden"]) == expected


def test_the_tenth_revision_is_newer_than_the_ninth() -> None:
    assert newest_revisions(["x/page-00001.r10.json.gz", "x/page-00001.r9.json.gz"]) == ["x/page-00001.r10.json.gz"]


def test_pages_of_the_same_number_in_two_folders_are_two_pages() -> None:
    assert len(newest_revisions(["a/page-00001.json.gz", "b/page-00001.json.gz"])) == 2


def test_a_folder_is_named_after_endpoint_and_batch() -> None:
    assert folder("gs://b/", "markets", "x") == "gs://b/landing/markets/x"


def test_a_manifest_comes_back_as_it_was_written() -> None:
    assert read_manifest(json.dumps(MANIFEST.to_dict())) == MANIFEST


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="without fields"),
        pytest.param(json.dumps({**MANIFEST.to_dict(), "snapshot_at": "soon"}), id="with a word for the instant"),
        pytest.param(json.dumps({**MANIFEST.to_dict(), "snapshot_at": 5}), id="with a number for the instant"),
        pytest.param(json.dumps({**MANIFEST.to_dict(), "extra": 1}), id="with a field that nobody knows"),
        pytest.param(b"\xff\xfe{", id="not text"),
    ],
)
def test_a_damaged_manifest_is_refused_with_a_remedy(text: str | bytes) -> None:
    with pytest.raises(TerminalError, match=r"manifest is damaged.*fetch again"):
        read_manifest(text)
