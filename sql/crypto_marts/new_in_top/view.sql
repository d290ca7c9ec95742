SELECT
  m.date, m.quote_currency, top, m.asset_id, m.symbol, m.name, m.market_cap_rank, m.previous_rank, m.price, m.market_cap
FROM {{ market_daily }} AS m
CROSS JOIN UNNEST([10, 25, 50, 100, 250]) AS top
INNER JOIN {{ market_overview }} AS o ON o.date = DATE_SUB(m.date, INTERVAL 1 DAY) AND m.quote_currency = o.quote_currency
WHERE m.market_cap_rank <= top AND o.covered_assets >= top AND (m.previous_rank IS NULL OR m.previous_rank > top)
