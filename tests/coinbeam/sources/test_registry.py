"""The registry of sources: its rows hold together, and agree with the settings."""

import pytest

from coinbeam.contracts import load_contract
from coinbeam.settings import DEFAULT_PLANS, HistorySettings
from coinbeam.sources.registry import ALTERNATIVE_ME, COINGECKO, FILES, SOURCES, Source

BY_ID = {source.id: source for source in SOURCES}


def test_ids_are_unique() -> None:
    assert len(BY_ID) == len(SOURCES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.id)
def test_kinds_are_those_of_the_contract(source: Source) -> None:
    assert source.kind in load_contract("source_dim").by_name["kind"].accepted


@pytest.mark.parametrize("source", [s for s in SOURCES if s.kind == "live"], ids=lambda source: source.id)
def test_a_live_source_names_its_address_its_attribution_and_a_simulated_twin(source: Source) -> None:
    assert source.url
    assert source.attribution
    assert source.hosts
    assert source.endpoints
    assert BY_ID[source.twin or ""].kind == "simulated"


@pytest.mark.parametrize("source", [COINGECKO, ALTERNATIVE_ME], ids=lambda source: source.id)
def test_the_twin_answers_for_the_simulator_only(source: Source) -> None:
    assert (source.answering("live"), source.answering("simulator")) == (source.id, f"{source.id}_simulator")


def test_a_source_without_a_twin_is_always_itself() -> None:
    assert FILES.answering("simulator") == "file"


def test_hosts_and_key_headers_are_those_of_the_settings() -> None:
    plans = DEFAULT_PLANS.values()
    assert set(COINGECKO.hosts) == {plan.base_url.host for plan in plans}
    assert set(COINGECKO.key_headers) == {plan.key_header for plan in plans if plan.key_header}
    assert ALTERNATIVE_ME.hosts == (HistorySettings().fear_greed_url.host,)
