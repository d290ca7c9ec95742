-- One changed market cap moves the ranks of its whole day, and of no other one.
UPDATE {{ market_daily }} AS m
SET market_cap_rank = r.market_cap_rank
FROM (
  SELECT
    asset_id, quote_currency, date,
    IF(market_cap > 0, ROW_NUMBER() OVER (PARTITION BY date, quote_currency ORDER BY COALESCE(market_cap, 0) DESC, asset_id ASC), NULL) AS market_cap_rank
  FROM {{ market_daily }}
  WHERE date BETWEEN {{ first_date }} AND {{ last_date }} AND date IN (SELECT c.date FROM marts_changed AS c)
) AS r
WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }} AND m.date = r.date AND m.asset_id = r.asset_id AND m.quote_currency = r.quote_currency
  AND m.market_cap_rank IS DISTINCT FROM r.market_cap_rank;

-- The place of the day before is a column, since a reader can bound only one of two days by the partition.
UPDATE {{ market_daily }} AS m
SET previous_rank = r.previous_rank
FROM (
  WITH days AS (
    SELECT date FROM marts_changed
    UNION DISTINCT
    SELECT DATE_ADD(date, INTERVAL 1 DAY) FROM marts_changed
  ),

  before AS (
    SELECT asset_id, quote_currency, DATE_ADD(date, INTERVAL 1 DAY) AS next_date, market_cap_rank
    FROM {{ market_daily }}
    WHERE date BETWEEN {{ day_before }} AND {{ last_date }}
  )

  SELECT t.asset_id, t.quote_currency, t.date, b.market_cap_rank AS previous_rank
  FROM {{ market_daily }} AS t
  INNER JOIN days AS d ON t.date = d.date
  LEFT JOIN before AS b ON t.asset_id = b.asset_id AND t.quote_currency = b.quote_currency AND t.date = b.next_date
  WHERE t.date BETWEEN {{ first_date }} AND {{ day_after }}
) AS r
WHERE m.date BETWEEN {{ first_date }} AND {{ day_after }} AND m.date = r.date AND m.asset_id = r.asset_id AND m.quote_currency = r.quote_currency
  AND m.previous_rank IS DISTINCT FROM r.previous_rank;
