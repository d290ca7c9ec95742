-- What a refresh will touch, as literals for its statements; nothing is written. One row; its assets are 0 when no day changed.
{% from "macros.sql" import changed_days, within %}
WITH changed AS (
  {{ changed_days(ranges, crypto_market_daily_fact, crypto_market_snapshot_fact, market_daily) }}
),

touched AS (
  SELECT
    asset_id, quote_currency, MIN(date) AS first_date, MAX(date) AS last_date, MAX(IF(is_gone, NULL, date)) AS last_present, MAX(IF(is_gone, date, NULL)) AS last_gone
  FROM changed
  GROUP BY asset_id, quote_currency
),

recent AS (
  SELECT DISTINCT t.asset_id, t.quote_currency
  FROM touched AS t
  INNER JOIN {{ market_daily }} AS m
    ON t.asset_id = m.asset_id AND t.quote_currency = m.quote_currency AND t.first_date > m.date
      AND DATE_SUB(t.first_date, INTERVAL {{ look_back }} DAY) <= m.date
  WHERE m.date BETWEEN DATE_SUB({{ hull[0] }}, INTERVAL {{ look_back }} DAY) AND {{ hull[1] }}
),

-- The row before the first touched day holds the state to go on from: mostly within the look-back, else known to be no earlier than this.
bounded AS (
  SELECT
    t.*, s.last_date AS stored_last,
    CASE
      WHEN r.asset_id IS NOT NULL OR s.first_date IS NULL OR s.first_date >= t.first_date THEN t.first_date
      WHEN s.last_date < t.first_date THEN s.last_date
      ELSE s.first_date
    END AS state_date
  FROM touched AS t
  LEFT JOIN recent AS r ON t.asset_id = r.asset_id AND t.quote_currency = r.quote_currency
  LEFT JOIN {{ asset_stats }} AS s ON t.asset_id = s.asset_id AND t.quote_currency = s.quote_currency
)

SELECT
  COUNT(*) AS assets, MIN(first_date) AS first_date, MAX(GREATEST(last_date, COALESCE(stored_last, last_date))) AS last_date,
  MAX(last_date) AS last_changed,
  LEAST(DATE_SUB(MIN(first_date), INTERVAL {{ look_back }} DAY), MIN(state_date)) AS look_back_from,
  -- Where the last days of the assets will be: those of touched assets are known unless a last one was retracted.
  MIN(
    IF(
      last_gone = stored_last, LEAST(state_date, DATE_SUB(first_date, INTERVAL {{ look_back }} DAY)),
      GREATEST(COALESCE(last_present, stored_last), COALESCE(stored_last, last_present))
    )
  ) AS first_latest,
  (SELECT MIN(s.last_date) FROM {{ asset_stats }} AS s WHERE {{ within("s.last_date", ranges) }}) AS first_present_day,
  (SELECT MAX(s.last_date) FROM {{ asset_stats }} AS s WHERE {{ within("s.last_date", ranges) }}) AS last_present_day
FROM bounded
