SELECT
  asset_id, quote_currency, observed_at AS price_at, 'daily' AS kind, date, price, market_cap, total_volume, observed_at, source_id
FROM {{ crypto_market_daily_fact }}
UNION ALL
SELECT
  asset_id, quote_currency, GREATEST(snapshot_at, observed_at), 'snapshot', snapshot_date, current_price, market_cap, total_volume, observed_at, source_id
FROM {{ crypto_market_snapshot_fact }}
