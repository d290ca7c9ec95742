"""Names of the tables that our code names, as their contracts have them."""

ASSETS = "crypto_asset_dim"
DATES = "date_dim"
REJECTS = "rejected_record"
SNAPSHOT_FACT = "crypto_market_snapshot_fact"
RATES_FACT = "exchange_rate_fact"
DAILY_FACT = "crypto_market_daily_fact"
FEAR_GREED_FACT = "fear_greed_fact"
