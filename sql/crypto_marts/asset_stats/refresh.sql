DELETE FROM {{ asset_stats }} AS s
WHERE EXISTS (SELECT 1 FROM marts_touched AS t WHERE t.asset_id = s.asset_id AND t.quote_currency = s.quote_currency);

INSERT INTO {{ asset_stats }} ({{ columns }})
SELECT {{ columns }}
FROM (
  SELECT
    m.asset_id, m.quote_currency, m.tracked_since AS first_date, m.date AS last_date, m.days_tracked,
    DATE_DIFF(m.date, m.tracked_since, DAY) + 1 - m.days_tracked AS days_missing,
    m.running_high AS ath, m.running_high_date AS ath_day, m.running_low AS atl, m.running_low_date AS atl_day,
    m.running_price_sum / m.days_tracked AS average_price,
    m.running_market_cap_sum / NULLIF(m.market_cap_days, 0) AS average_market_cap,
    m.running_volume_sum / NULLIF(m.volume_days, 0) AS average_volume,
    100 * (m.running_high - m.running_low) / m.running_low AS range_percentage,
    m.running_maximum_drawdown_percentage AS maximum_drawdown_percentage, m.price AS last_price, m.symbol, m.name
  FROM {{ market_daily }} AS m
  INNER JOIN marts_touched AS t ON m.asset_id = t.asset_id AND m.quote_currency = t.quote_currency
  WHERE m.date BETWEEN {{ look_back_from }} AND {{ last_date }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY m.asset_id, m.quote_currency ORDER BY m.date DESC) = 1
);
