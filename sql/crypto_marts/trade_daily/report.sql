SELECT 'trade_daily' AS mart, COUNT(*) AS n
FROM {{ trade_daily }} AS t
WHERE t.date BETWEEN {{ first_date }} AND {{ last_date }}
