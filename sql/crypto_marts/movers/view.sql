SELECT
  date, quote_currency, days, direction,
  ROW_NUMBER() OVER (PARTITION BY date, quote_currency, days, direction ORDER BY ABS(price_change_percentage) DESC, asset_id ASC) AS position,
  asset_id, symbol, name, market_cap_rank, price_change_percentage, price, market_cap, total_volume
FROM (
{% for n in (1, 7, 30) %}
  SELECT
    date, quote_currency, {{ n }} AS days, IF(price_change_percentage_{{ n }}d > 0, 'up', 'down') AS direction, asset_id, symbol, name, market_cap_rank,
    price_change_percentage_{{ n }}d AS price_change_percentage, price, market_cap, total_volume
  FROM {{ market_daily }}
  WHERE market_cap_rank <= {{ signals.movers_among }} AND price_change_percentage_{{ n }}d != 0
{{ "  UNION ALL\n" if not loop.last }}
{%- endfor %}
) AS changes
