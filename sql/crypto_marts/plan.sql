-- What a refresh will touch, as literals for its statements; nothing is written. One row; its assets are 0 when no day changed.
{% from "macros.sql" import changed_days, within %}
WITH changed AS (
  {{ changed_days(ranges, crypto_market_daily_fact, crypto_market_snapshot_fact, market_daily, late_after_seconds) }}
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
    t.*, s.last_date AS stored_last, r.asset_id IS NOT NULL OR COALESCE(s.first_date < t.first_date, FALSE) AS has_earlier,
    CASE
      WHEN r.asset_id IS NOT NULL OR s.first_date IS NULL OR s.first_date >= t.first_date THEN t.first_date
      WHEN s.last_date < t.first_date THEN s.last_date
      ELSE s.first_date
    END AS state_date
  FROM touched AS t
  LEFT JOIN recent AS r ON t.asset_id = r.asset_id AND t.quote_currency = r.quote_currency
  LEFT JOIN {{ asset_stats }} AS s ON t.asset_id = s.asset_id AND t.quote_currency = s.quote_currency
),

-- The newest snapshots of the ranges; one before the price that is held changes nothing.
seen AS (
  SELECT asset_id, quote_currency, MAX(snapshot_date) AS last_seen
  FROM (
    {% for range in ranges %}
    SELECT asset_id, quote_currency, snapshot_date
    FROM {{ crypto_market_snapshot_fact }}
    WHERE snapshot_date BETWEEN {{ range[0] }} AND {{ range[1] }}{{ "\nUNION ALL\n" if not loop.last }}
    {%- endfor %}
  ) AS snapshots
  GROUP BY asset_id, quote_currency
),

-- Whose newest price may be another one, and from which day on it is found: null where every day that is known of the asset may be gone.
newest AS (
  SELECT asset_id, quote_currency, MAX(known) AS known
  FROM (
    SELECT n.asset_id, n.quote_currency, n.last_seen AS known
    FROM seen AS n
    LEFT JOIN {{ latest_prices }} AS p ON n.asset_id = p.asset_id AND n.quote_currency = p.quote_currency
    WHERE p.asset_id IS NULL OR n.last_seen >= p.date OR {{ within("p.date", ranges) }}
    UNION ALL
    SELECT
      asset_id, quote_currency,
      CASE
        WHEN last_gone = stored_last AND has_earlier THEN LEAST(state_date, DATE_SUB(first_date, INTERVAL {{ look_back }} DAY))
        WHEN last_gone = stored_last THEN last_present
        ELSE GREATEST(COALESCE(last_present, stored_last), COALESCE(stored_last, last_present))
      END
    FROM bounded
    UNION ALL
    SELECT p.asset_id, p.quote_currency, IF({{ within("p.date", ranges) }}, IF(t.asset_id IS NULL, s.last_date, NULL), p.date)
    FROM {{ latest_prices }} AS p
    LEFT JOIN touched AS t ON p.asset_id = t.asset_id AND p.quote_currency = t.quote_currency
    LEFT JOIN {{ asset_stats }} AS s ON p.asset_id = s.asset_id AND p.quote_currency = s.quote_currency
    WHERE t.asset_id IS NOT NULL OR {{ within("p.date", ranges) }}
  ) AS k
  GROUP BY asset_id, quote_currency
)

SELECT
  COUNT(*) AS assets, MIN(first_date) AS first_date, MAX(GREATEST(last_date, COALESCE(stored_last, last_date))) AS last_date,
  MAX(last_date) AS last_changed,
  LEAST(DATE_SUB(MIN(first_date), INTERVAL {{ look_back }} DAY), MIN(state_date)) AS look_back_from,
  (SELECT MIN(n.known) FROM newest AS n) AS first_latest, (SELECT MAX(n.known) FROM newest AS n) AS last_latest,
  (SELECT ARRAY_AGG(DISTINCT n.asset_id ORDER BY n.asset_id) FROM newest AS n WHERE n.known IS NULL) AS unknown,
  (SELECT COUNTIF(n.known IS NULL) FROM newest AS n) AS lost
FROM bounded
