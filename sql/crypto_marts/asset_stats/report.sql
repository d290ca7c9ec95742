SELECT 'asset_stats' AS mart, COUNT(*) AS n
FROM {{ asset_stats }} AS s
INNER JOIN marts_touched AS t ON s.asset_id = t.asset_id AND s.quote_currency = t.quote_currency
