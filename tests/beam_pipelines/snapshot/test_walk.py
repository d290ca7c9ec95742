"""The fetch transform with a scripted API: the walk, the landing, what a retry costs, and that no key travels."""

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from pydantic import SecretStr

from beam_pipelines.fetch_crypto_data import prepare_fetch
from beam_pipelines.job.clients import make_clients, with_worker_key, without_key
from beam_pipelines.job.launch import prepare
from beam_pipelines.job.options import beam_options, read_job, read_market, read_options
from beam_pipelines.landing.fetch import Fetch, FetchFn
from beam_pipelines.landing.folder import FetchStats, LandingFolder, begin_batch, landed_manifest
from beam_pipelines.snapshot.walk import MarketWalk, is_page, page_size
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import SnapshotOptions
from coinbeam.batch.universe import UniverseSpec
from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.landing.layout import pack, unpack
from coinbeam.settings import CoinGeckoSettings, Environment, Settings, Universe
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.http.client import ApiAnswer

NOW = datetime(2026, 1, 2, 0, 5, tzinfo=UTC)
MANIFEST = BatchManifest("batch", "markets", "coingecko", datetime(2026, 1, 2, tzinfo=UTC), "usd", 2, "all")
ALL = UniverseSpec()


def page(*ids: str) -> bytes:
    return json.dumps([{"id": asset} for asset in ids]).encode()


@dataclass
class ScriptedClient:
    """Answers pages by number; what it was asked for is kept for all instances, since the pipeline copies them."""

    pages: dict[int, bytes]
    asked: ClassVar[list[dict[str, Any]]] = []
    closed: ClassVar[list[bool]] = []

    def markets_page(
        self,
        quote_currency: str,
        page: int,
        per_page: int = 250,
        order: str = "id_asc",
        ids: Sequence[str] = (),
        category: str | None = None,
    ) -> ApiAnswer:
        self.asked.append(
            {
                "currency": quote_currency,
                "page": page,
                "per_page": per_page,
                "order": order,
                "ids": ids,
                "category": category,
            }
        )
        body = self.pages.get(page, b"[]")
        problem = None if body.startswith(b"[") else "not JSON"
        return ApiAnswer(body, "http://x", NOW, calls=2, throttled=1, problem=problem)

    def coins_list(self) -> ApiAnswer:
        raise NotImplementedError

    def coin(self, asset_id: str) -> ApiAnswer:
        raise NotImplementedError

    def close(self) -> None:
        self.closed.append(True)


@dataclass(frozen=True)
class Script:
    """The client factory of a test."""

    pages: dict[int, bytes] = field(default_factory=dict)

    def __call__(self) -> ScriptedClient:
        return ScriptedClient(self.pages)


@pytest.fixture(autouse=True)
def fresh_script() -> Iterator[None]:
    ScriptedClient.asked.clear()
    ScriptedClient.closed.clear()
    yield
    assert all(ScriptedClient.closed)


def plan(folder: Path, universe: UniverseSpec = ALL, shards: int = 1, **changes: Any) -> MarketWalk:
    return MarketWalk(MANIFEST, str(folder), universe, shards, changes.get("deadline"))


def walk(chosen: MarketWalk, pages: dict[int, bytes], shard: int = 0) -> list[int]:
    return [
        out.number
        for out in FetchFn(chosen, Script(pages), lambda: NOW).process(shard)
        if not isinstance(out, beam.pvalue.TaggedOutput)
    ]


@contextmanager
def local_pipeline() -> Iterator[beam.Pipeline]:
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        yield pipeline


FIVE = {1: page("a", "b"), 2: page("c", "d"), 3: page("e")}


def test_the_transform_lands_every_page_and_counts(tmp_path: Path) -> None:
    with local_pipeline() as pipeline:
        fetched = pipeline | Fetch(plan(tmp_path, shards=2), Script(FIVE), lambda: NOW)
        names = fetched.inputs | beam.Map(lambda found: [uri.rpartition("/")[2] for uri in found.bodies])
        assert_that(
            names,
            equal_to(
                [
                    [
                        "page-00001.json.gz",
                        "page-00002.json.gz",
                        "page-00003.json.gz",
                        "page-00004.r2.json.gz",
                        "page-00005.r2.json.gz",
                    ]
                ]
            ),
        )
        totals = fetched.stats | beam.Map(
            lambda stats: (stats.api_calls, stats.api_retries, stats.api_throttled, stats.bodies_landed)
        )
        assert_that(totals, equal_to([(8, 4, 4, 4), (6, 3, 3, 3)]), label="stats")
    landed = unpack((tmp_path / "page-00001.json.gz").read_bytes(), "u", NOW)
    assert (landed.body, landed.landed_at) == (FIVE[1], NOW)


@pytest.mark.parametrize(
    ("shard", "shards", "numbers"), [(0, 1, [1, 2, 3, 4]), (0, 2, [1, 3, 5]), (1, 2, [2, 4]), (2, 3, [3, 6])]
)
def test_a_shard_walks_its_pages_until_one_is_empty_twice(
    tmp_path: Path, shard: int, shards: int, numbers: list[int]
) -> None:
    assert walk(plan(tmp_path, shards=shards), FIVE, shard) == numbers


def test_a_short_page_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    assert walk(plan(tmp_path), {1: page("a", "b"), 2: page("c"), 3: page("d", "e")}) == [1, 2, 3, 4]


def test_an_empty_page_that_passes_ends_nothing(tmp_path: Path) -> None:
    answers = [page("a", "b"), b"[]", page("c", "d"), b"[]", b"[]"]

    def client() -> Any:
        made = ScriptedClient({})
        made.markets_page = lambda *_, **__: ApiAnswer(answers.pop(0), "http://x", NOW)  # type: ignore[method-assign]
        return made

    outputs = [out for out in FetchFn(plan(tmp_path), client, lambda: NOW).process(0) if hasattr(out, "number")]
    assert [(out.number, out.uri.rpartition("/")[2]) for out in outputs] == [
        (1, "page-00001.json.gz"),
        (2, "page-00002.r2.json.gz"),
        (3, "page-00003.r2.json.gz"),
    ]


@pytest.mark.parametrize(("top", "numbers"), [(3, [1, 2, 3]), (2, [1, 2]), (6, [1, 2, 3, 4])])
def test_a_top_n_steps_by_the_size_that_the_source_gives(tmp_path: Path, top: int, numbers: list[int]) -> None:
    """Two rows are asked for, one comes."""
    capped = {number: page(str(number)) for number in range(1, 4)}
    assert walk(plan(tmp_path, UniverseSpec(Universe.TOP, top_n=top)), capped) == numbers


def test_the_top_n_stops_where_it_must_even_on_full_pages(tmp_path: Path) -> None:
    endless = {number: page(f"{number}a", f"{number}b") for number in range(1, 9)}
    assert walk(plan(tmp_path, UniverseSpec(Universe.TOP, top_n=5)), endless) == [1, 2, 3]
    assert {asked["order"] for asked in ScriptedClient.asked} == {"market_cap_desc"}


def test_ids_are_asked_for_in_groups_always_as_the_first_page(tmp_path: Path) -> None:
    chosen = plan(tmp_path, UniverseSpec(Universe.IDS, ids=("a", "b", "c")))
    assert walk(chosen, {1: page("a", "b", "c")}) == [1, 2]
    assert [(asked["page"], asked["ids"]) for asked in ScriptedClient.asked] == [(1, ("a", "b")), (1, ("c",))]


def test_ids_that_are_not_answered_are_asked_for_once_more(tmp_path: Path) -> None:
    """Of three ids one is answered: by a cap of the source, or because the others do not exist."""
    chosen = plan(tmp_path, UniverseSpec(Universe.IDS, ids=("a", "b", "typo")))
    answers = [page("a"), b"[]", page("b"), b"[]"]

    def client() -> Any:
        made = ScriptedClient({})
        made.markets_page = lambda *_, ids=(), **__: (  # type: ignore[method-assign]
            ScriptedClient.asked.append({"ids": ids}) or ApiAnswer(answers.pop(0), "http://x", NOW)
        )
        return made

    numbers = [out.number for out in FetchFn(chosen, client, lambda: NOW).process(0) if hasattr(out, "number")]
    assert numbers == [1, 2, 3, 4]
    assert [asked["ids"] for asked in ScriptedClient.asked] == [("a", "b"), ("typo",), ("b", "typo"), ("typo",)]


def test_a_category_is_passed_on_and_the_order_is_stable(tmp_path: Path) -> None:
    walk(plan(tmp_path, UniverseSpec(Universe.CATEGORY, category="layer-1")), {})
    assert ScriptedClient.asked[0] == {
        "currency": "usd",
        "page": 1,
        "per_page": 2,
        "order": "id_asc",
        "ids": (),
        "category": "layer-1",
    }


@pytest.mark.parametrize(
    ("top", "size"), [(1, 1), (100, 100), (250, 250), (251, 126), (300, 150), (500, 250), (1000, 250)]
)
def test_the_pages_of_a_top_n_are_few_and_even(top: int, size: int) -> None:
    assert page_size(UniverseSpec(Universe.TOP, top_n=top), 250) == size
    assert page_size(ALL, 250) == 250


def test_a_malformed_page_is_landed_and_the_walk_goes_on(tmp_path: Path) -> None:
    assert walk(plan(tmp_path), FIVE | {2: b"<html>"}) == [1, 2, 3, 4]
    assert unpack((tmp_path / "page-00002.json.gz").read_bytes(), "u", NOW).body == b"<html>"


def test_an_api_that_sends_only_malformed_pages_ends_the_walk(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="3 pages in a row"):
        walk(plan(tmp_path), dict.fromkeys(range(1, 50), b"<html>"))
    assert len(ScriptedClient.asked) == 3


def test_a_landed_page_is_not_asked_for_again_but_a_malformed_or_cut_one_is(tmp_path: Path) -> None:
    (tmp_path / "page-00001.json.gz").write_bytes(pack(FIVE[1], NOW))
    (tmp_path / "page-00002.json.gz").write_bytes(pack(b"<html>", NOW))
    (tmp_path / "page-00003.json.gz").write_bytes(pack(FIVE[3], NOW)[:-9])
    outputs = list(FetchFn(plan(tmp_path), Script(FIVE), lambda: NOW).process(0))
    assert [asked["page"] for asked in ScriptedClient.asked] == [2, 3, 4, 4]
    assert [out.uri.rpartition("/")[2] for out in outputs[:3]] == [
        "page-00001.json.gz",
        "page-00002.r2.json.gz",
        "page-00003.r2.json.gz",
    ]
    assert (outputs[4].value.bodies_reused, outputs[4].value.bodies_landed) == (1, 4)


def test_no_call_is_made_after_the_deadline_but_what_was_landed_counts(tmp_path: Path) -> None:
    for number, body in FIVE.items():
        (tmp_path / f"page-0000{number}.json.gz").write_bytes(pack(body, NOW))
    (tmp_path / "page-00004.r2.json.gz").write_bytes(pack(b"[]", NOW))
    late = plan(tmp_path, deadline=NOW)
    assert walk(late, {}) == [1, 2, 3, 4]
    (tmp_path / "page-00002.json.gz").unlink()
    with pytest.raises(TerminalError, match="page-00002"):
        walk(late, FIVE)
    assert not ScriptedClient.asked


def test_the_client_is_closed_also_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(TransientError):
        walk(plan(tmp_path), dict.fromkeys(range(1, 9), b"no"))
    assert ScriptedClient.closed == [True]


def test_a_manifest_is_written_once_and_disagreement_is_named(tmp_path: Path) -> None:
    begin_batch(str(tmp_path), MANIFEST)
    begin_batch(str(tmp_path), MANIFEST)
    assert landed_manifest(str(tmp_path)) == MANIFEST
    with pytest.raises(SettingsError, match=r"source_id 'coingecko' \(now 'coingecko_simulator'\)"):
        begin_batch(str(tmp_path), BatchManifest(**{**vars(MANIFEST), "source_id": "coingecko_simulator"}))


def test_a_folder_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    folder = LandingFolder(f"{tmp_path}/none", is_page)
    assert (folder.stems, folder.uris) == (frozenset(), ())


def test_stats_add_up() -> None:
    total = FetchStats(1, 2, 3, 4, 5, 6)
    total.add(FetchStats(10, 20, 30, 40, 50, 60))
    assert vars(total) == vars(FetchStats(11, 22, 33, 44, 55, 66))


KEY = "CG-thekeyofthistest"


def demo(make_settings: Callable[..., Settings], **changes: Any) -> Settings:
    return make_settings(plan="demo", api_key=SecretStr(KEY), **changes)


def test_no_key_travels_with_the_pipeline(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = demo(make_settings)
    launch = prepare(FETCH_CRYPTO_DATA, [f"--output={tmp_path}", "--source=live"], settings, lambda: NOW)
    order, walk = prepare_fetch(launch, read_market(launch.read(SnapshotOptions), settings))
    assert KEY.encode() not in pickle.dumps((order.clients, walk))
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_worker_takes_the_key_of_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = without_key(CoinGeckoSettings(plan="demo", api_key=SecretStr("CG-launcher")))
    assert bare.api_key is None
    monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    found = with_worker_key(bare).api_key
    assert found is not None
    assert found.get_secret_value() == KEY


def test_a_key_that_dataflow_workers_could_not_read_is_refused_at_launch(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = demo(make_settings, environment=Environment.PRODUCTION)
    options = beam_options([f"--output={tmp_path}", "--runner=DataflowRunner"], SnapshotOptions)
    job = read_job(read_options(options, SnapshotOptions), settings, lambda: NOW)
    with pytest.raises(SettingsError, match="api_key_secret"):
        make_clients(job, RuntimeSource("live", "https://x"), settings, options, None)


def test_dataflow_divides_the_quota_and_one_machine_does_not(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings, source = make_settings(), RuntimeSource("live", "https://x")
    shards = {}
    for runner in ("DirectRunner", "DataflowRunner"):
        options = beam_options([f"--output={tmp_path}", f"--runner={runner}", "--source=live"], SnapshotOptions)
        shards[runner] = make_clients(
            read_job(read_options(options, SnapshotOptions), settings, lambda: NOW), source, settings, options, None
        )
    assert shards["DirectRunner"].shards == 1
    assert 1 <= shards["DataflowRunner"].shards <= settings.market.fetch_shards
    assert shards["DirectRunner"].calls_per_minute == settings.coingecko.limits.calls_per_minute
