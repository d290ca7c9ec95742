-- After the transaction: what it left, by mart.
{% if is_market %}
SELECT 'market_daily' AS mart, COUNT(*) AS n
FROM {{ market_daily }} AS m
INNER JOIN marts_touched AS t ON m.asset_id = t.asset_id AND m.quote_currency = t.quote_currency AND m.date >= t.first_date
WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }}
UNION ALL
SELECT 'asset_stats', COUNT(*)
FROM {{ asset_stats }} AS s
INNER JOIN marts_touched AS t ON s.asset_id = t.asset_id AND s.quote_currency = t.quote_currency
UNION ALL
{% endif %}
{% if is_latest %}
SELECT 'latest_prices' AS mart, COUNT(*) AS n FROM marts_latest
UNION ALL
{% endif %}
SELECT 'market_overview' AS mart, {% if overview %}COUNT(*) AS n
FROM {{ market_overview }} AS o
INNER JOIN marts_days AS d ON o.date = d.date
WHERE o.date BETWEEN {{ overview[0] }} AND {{ overview[1] }}{% else %}0 AS n{% endif %};
