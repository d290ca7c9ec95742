-- Every day with a snapshot is a day of market_daily. So the newest price of an asset is one of its last day there, and no earlier day is read.
CREATE OR REPLACE TEMP TABLE marts_latest AS
SELECT s.asset_id, s.quote_currency, s.last_date
FROM {{ asset_stats }} AS s
LEFT JOIN marts_touched AS t ON s.asset_id = t.asset_id AND s.quote_currency = t.quote_currency
WHERE t.asset_id IS NOT NULL{% for range in ranges %} OR s.last_date BETWEEN {{ range[0] }} AND {{ range[1] }}{% endfor %};

DELETE FROM {{ latest_prices }} AS p
WHERE EXISTS (SELECT 1 FROM marts_touched AS t WHERE t.asset_id = p.asset_id AND t.quote_currency = p.quote_currency)
  OR EXISTS (SELECT 1 FROM marts_latest AS l WHERE l.asset_id = p.asset_id AND l.quote_currency = p.quote_currency);

INSERT INTO {{ latest_prices }} ({{ columns }})
SELECT {{ columns }}
FROM (
  WITH named AS (SELECT asset_id, symbol, name FROM {{ crypto_asset_dim }} WHERE is_current)

  SELECT
    c.asset_id, c.quote_currency, COALESCE(c.symbol, a.symbol) AS symbol, COALESCE(c.name, a.name) AS name, c.price, c.market_cap, c.market_cap_rank, c.total_volume,
    c.price_change_percentage_24h, c.date, c.price_at, c.kind, c.observed_at, c.source_id, c.batch_id
  FROM (
    SELECT
      s.asset_id, s.quote_currency, s.symbol, s.name, s.current_price AS price, s.market_cap, s.market_cap_rank, s.total_volume,
      s.price_change_percentage_24h, s.snapshot_date AS date, s.snapshot_at AS price_at, 'snapshot' AS kind, s.observed_at, s.source_id, s.batch_id
    FROM {{ crypto_market_snapshot_fact }} AS s
    INNER JOIN marts_latest AS l ON s.asset_id = l.asset_id AND s.quote_currency = l.quote_currency AND s.snapshot_date = l.last_date
    WHERE s.snapshot_date BETWEEN {{ first_latest }} AND {{ last_latest }}
    UNION ALL
    SELECT
      m.asset_id, m.quote_currency, NULL AS symbol, NULL AS name, m.price, m.market_cap, NULL AS market_cap_rank, m.total_volume,
      m.price_change_percentage_1d AS price_change_percentage_24h, m.date, m.observed_at AS price_at, 'daily' AS kind, m.observed_at, m.source_id, m.batch_id
    FROM {{ market_daily }} AS m
    INNER JOIN marts_latest AS l ON m.asset_id = l.asset_id AND m.quote_currency = l.quote_currency AND m.date = l.last_date
    WHERE m.date BETWEEN {{ first_latest }} AND {{ last_latest }} AND m.price_source = 'history'
  ) AS c
  LEFT JOIN named AS a ON c.asset_id = a.asset_id
  QUALIFY ROW_NUMBER() OVER (PARTITION BY c.asset_id, c.quote_currency ORDER BY c.price_at DESC, c.kind DESC) = 1
);
