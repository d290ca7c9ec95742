-- The averages of the first hour of a range read the last hour of the day before; those of a changed hour reach an hour ahead.
DELETE FROM {{ intraday_moving_average }} AS i
WHERE i.window_date BETWEEN {{ first_date }} AND {{ last_date }};

INSERT INTO {{ intraday_moving_average }} ({{ columns }})
SELECT {{ columns }}
FROM (
  SELECT
    symbol, window_start, window_date, close_price,
    {%- for minutes in (5, 15, 60) %}
    IF(COUNT(*) OVER (last_{{ minutes }}) = {{ minutes }}, AVG(close_price) OVER (last_{{ minutes }}), NULL) AS sma_{{ minutes }},
    {%- endfor %}
    is_complete
  FROM {{ trade_window_fact }}
  WHERE window_date BETWEEN DATE_SUB({{ first_date }}, INTERVAL 1 DAY) AND {{ last_date }}
    AND base_volume > 0  -- polled prices are no trades
  WINDOW
    {%- for minutes in (5, 15, 60) %}
    last_{{ minutes }} AS (PARTITION BY symbol ORDER BY UNIX_SECONDS(window_start) RANGE BETWEEN {{ 60 * minutes - 60 }} PRECEDING AND CURRENT ROW){{ "," if not loop.last }}
    {%- endfor %}
)
WHERE window_date BETWEEN {{ first_date }} AND {{ last_date }};
