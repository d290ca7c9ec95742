-- Everything below happens in one transaction: the state of the facts is that of this statement.
{% from "macros.sql" import changed_days %}
CREATE OR REPLACE TEMP TABLE marts_changed AS
{{ changed_days(ranges, crypto_market_daily_fact, crypto_market_snapshot_fact, market_daily, late_after_seconds) }};

CREATE OR REPLACE TEMP TABLE marts_touched AS
SELECT asset_id, quote_currency, MIN(date) AS first_date, MAX(date) AS last_date
FROM marts_changed
GROUP BY asset_id, quote_currency;
