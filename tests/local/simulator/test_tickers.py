"""The tickers in the shape of CoinPaprika: the same market as the other API shows."""


def test_the_largest_come_first_and_their_prices_are_those_of_the_market(client):
    tickers = client.get("/v1/tickers", params={"quotes": "USD"}).json()
    assert [row["rank"] for row in tickers] == sorted(row["rank"] for row in tickers)
    query = {"vs_currency": "usd", "per_page": 250, "precision": "full"}
    market = client.get("/api/v3/coins/markets", params=query).json()
    prices = {row["market_cap_rank"]: row["current_price"] for row in market if row["market_cap_rank"]}
    assert {row["rank"]: row["quotes"]["USD"]["price"] for row in tickers[:50]} == {
        rank: prices[rank] for rank in (row["rank"] for row in tickers[:50])
    }


def test_its_calls_are_counted(client):
    client.get("/v1/tickers")
    assert client.get("/_control/stats").json()["calls"] == {"/v1/tickers": 1}


def test_another_currency_is_refused(client):
    assert client.get("/v1/tickers", params={"quotes": "EUR"}).status_code == 400
