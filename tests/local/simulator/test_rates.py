"""Exchange rates: those of the quote currencies, told per bitcoin."""

import pytest

from local.simulator.currencies import CURRENCIES

RATES = "/api/v3/exchange_rates"


def test_every_quote_currency_has_a_rate(client):
    rates = client.get(RATES).json()["rates"]
    assert set(rates) == set(CURRENCIES)
    assert all(list(rate) == ["name", "unit", "value", "type"] for rate in rates.values())
    assert {rate["type"] for rate in rates.values()} == {"fiat", "crypto", "commodity"}
    assert (rates["btc"]["value"], rates["sats"]["value"]) == (1.0, 1e8)


@pytest.mark.parametrize("currency", ["usd", "eur", "jpy", "xau", "eth", "bits"])
def test_a_rate_is_the_price_of_bitcoin_in_the_currency(currency, client):
    value = client.get(RATES).json()["rates"][currency]["value"]
    query = {"vs_currency": currency, "ids": "bitcoin", "precision": "full"}
    [bitcoin] = client.get("/api/v3/coins/markets", params=query).json()
    assert value == pytest.approx(bitcoin["current_price"], abs=6e-4)


def test_calls_are_counted_and_fail_as_any_other(client):
    client.get(RATES)
    client.post("/_control/faults", json={"profile": "down"})
    assert client.get(RATES).status_code == 503
    assert client.get("/_control/stats").json()["calls"]["/exchange_rates"] == 2
