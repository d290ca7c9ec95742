SELECT 'market_overview' AS mart, COUNT(*) AS n
FROM {{ market_overview }} AS o
INNER JOIN marts_days AS d ON o.date = d.date
WHERE o.date BETWEEN {{ first_date }} AND {{ last_date }}
