-- Everything below happens in one transaction: the state of the facts is that of this statement.
{% from "macros.sql" import changed_days %}
INSERT INTO marts_changed (asset_id, quote_currency, date, is_gone, price, market_cap, total_volume, price_source, observed_at, source_id, batch_id)
SELECT asset_id, quote_currency, date, is_gone, price, market_cap, total_volume, price_source, observed_at, source_id, batch_id
FROM (
{{ changed_days(ranges, crypto_market_daily_fact, crypto_market_snapshot_fact, market_daily, late_after_seconds) }}
) AS c;

INSERT INTO marts_touched (asset_id, quote_currency, first_date, last_date)
SELECT asset_id, quote_currency, first_date, last_date
FROM (
  SELECT asset_id, quote_currency, MIN(date) AS first_date, MAX(date) AS last_date
  FROM marts_changed
  GROUP BY asset_id, quote_currency
) AS t;
