-- The newest price of an asset is a snapshot or a day of history. Which days may hold it is known from the plan, so no earlier one is read.
{% from "macros.sql" import within, is_wrapped %}
INSERT INTO marts_scope (asset_id, quote_currency)
SELECT asset_id, quote_currency FROM marts_touched
UNION DISTINCT
SELECT asset_id, quote_currency FROM {{ latest_prices }} WHERE {{ within("date", ranges) }}
{% for range in ranges %}
UNION DISTINCT
SELECT s.asset_id, s.quote_currency
FROM {{ crypto_market_snapshot_fact }} AS s
LEFT JOIN {{ latest_prices }} AS p ON s.asset_id = p.asset_id AND s.quote_currency = p.quote_currency
WHERE s.snapshot_date BETWEEN {{ range[0] }} AND {{ range[1] }} AND (p.asset_id IS NULL OR s.snapshot_date >= p.date){{ ";" if loop.last else "\n" }}
{%- endfor %}

INSERT INTO marts_latest (asset_id, quote_currency, last_date)
SELECT asset_id, quote_currency, last_date
FROM (
  SELECT asset_id, quote_currency, MAX(date) AS last_date
  FROM (
    SELECT s.asset_id, s.quote_currency, s.snapshot_date AS date
    FROM {{ crypto_market_snapshot_fact }} AS s
    INNER JOIN marts_scope AS t ON s.asset_id = t.asset_id AND s.quote_currency = t.quote_currency
    WHERE s.snapshot_date BETWEEN {{ first_latest }} AND {{ last_latest }}
    UNION ALL
    SELECT m.asset_id, m.quote_currency, m.date
    FROM {{ market_daily }} AS m
    INNER JOIN marts_scope AS t ON m.asset_id = t.asset_id AND m.quote_currency = t.quote_currency
    WHERE m.date BETWEEN {{ first_latest }} AND {{ last_latest }} AND m.price_source = 'history'
  ) AS d
  GROUP BY asset_id, quote_currency
) AS n;

-- No more assets may lose their price than the plan could not find: a publish since then may have taken a day that it counted on.
SELECT
  IF(
    COUNTIF(p.asset_id IS NOT NULL OR s.asset_id IS NOT NULL) > {{ lost }}, ERROR('coinbeam: a publish overtook the plan of the marts'), 0
  ) AS overtaken
FROM marts_scope AS t
LEFT JOIN marts_latest AS l ON t.asset_id = l.asset_id AND t.quote_currency = l.quote_currency
LEFT JOIN {{ latest_prices }} AS p ON t.asset_id = p.asset_id AND t.quote_currency = p.quote_currency
LEFT JOIN {{ asset_stats }} AS s ON t.asset_id = s.asset_id AND t.quote_currency = s.quote_currency
WHERE l.asset_id IS NULL;

DELETE FROM {{ latest_prices }} AS p
WHERE EXISTS (SELECT 1 FROM marts_scope AS t WHERE t.asset_id = p.asset_id AND t.quote_currency = p.quote_currency);

INSERT INTO {{ latest_prices }} ({{ columns }})
SELECT {{ columns }}
FROM (
  WITH named AS (SELECT asset_id, symbol, name FROM {{ crypto_asset_dim }} WHERE is_current)

  SELECT
    c.asset_id, c.quote_currency, COALESCE(c.symbol, a.symbol) AS symbol, COALESCE(c.name, a.name) AS name, {{ is_wrapped("c.asset_id") }} AS is_wrapped,
    c.price, c.market_cap, c.market_cap_rank, c.total_volume,
    c.price_change_percentage_24h, c.date, c.price_at, c.kind, c.observed_at, c.source_id, c.batch_id
  FROM (
    SELECT
      s.asset_id, s.quote_currency, s.symbol, s.name, s.current_price AS price, s.market_cap, s.market_cap_rank, s.total_volume, s.price_change_percentage_24h,
      s.snapshot_date AS date, GREATEST(s.snapshot_at, s.observed_at) AS price_at, 'snapshot' AS kind, s.snapshot_at, s.observed_at, s.source_id, s.batch_id
    FROM {{ crypto_market_snapshot_fact }} AS s
    INNER JOIN marts_latest AS l ON s.asset_id = l.asset_id AND s.quote_currency = l.quote_currency AND s.snapshot_date = l.last_date
    WHERE s.snapshot_date BETWEEN {{ first_latest }} AND {{ last_latest }}
    UNION ALL
    SELECT
      m.asset_id, m.quote_currency, NULL AS symbol, NULL AS name, m.price, m.market_cap, NULL AS market_cap_rank, m.total_volume, m.price_change_percentage_1d,
      m.date, m.observed_at AS price_at, 'daily' AS kind, m.observed_at AS snapshot_at, m.observed_at, m.source_id, m.batch_id
    FROM {{ market_daily }} AS m
    INNER JOIN marts_latest AS l ON m.asset_id = l.asset_id AND m.quote_currency = l.quote_currency AND m.date = l.last_date
    WHERE m.date BETWEEN {{ first_latest }} AND {{ last_latest }} AND m.price_source = 'history'
  ) AS c
  LEFT JOIN named AS a ON c.asset_id = a.asset_id
  QUALIFY ROW_NUMBER() OVER (PARTITION BY c.asset_id, c.quote_currency ORDER BY c.price_at DESC, c.kind DESC, c.snapshot_at DESC) = 1
);
