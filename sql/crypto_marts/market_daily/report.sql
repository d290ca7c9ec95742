SELECT 'market_daily' AS mart, COUNT(*) AS n
FROM {{ market_daily }} AS m
INNER JOIN marts_touched AS t ON m.asset_id = t.asset_id AND m.quote_currency = t.quote_currency AND m.date >= t.first_date
WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }}
