SELECT 'intraday_moving_average' AS mart, COUNT(*) AS n
FROM {{ intraday_moving_average }} AS i
WHERE i.window_date BETWEEN {{ first_date }} AND {{ last_date }}
