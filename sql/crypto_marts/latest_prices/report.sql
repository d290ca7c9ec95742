SELECT 'latest_prices' AS mart, COUNT(*) AS n FROM marts_latest
