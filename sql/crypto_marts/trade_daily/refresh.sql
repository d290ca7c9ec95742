-- Each window says itself whether it is complete; ids tell of windows that are missing as a whole.
DELETE FROM {{ trade_daily }} AS t
WHERE t.date BETWEEN {{ first_date }} AND {{ last_date }};

INSERT INTO {{ trade_daily }} ({{ columns }})
SELECT {{ columns }}
FROM (
  WITH windows AS (
    SELECT
      w.*,
      LAG(w.close_price) OVER (by_time) AS previous_close,
      LAG(w.window_start) OVER (by_time) AS previous_start,
      LAG(w.last_agg_trade_id) OVER (by_time) AS previous_id
    FROM {{ trade_window_fact }} AS w
    WHERE w.window_date BETWEEN DATE_SUB({{ first_date }}, INTERVAL 1 DAY) AND {{ last_date }}
      AND w.base_volume > 0  -- polled prices are no trades
    WINDOW by_time AS (PARTITION BY w.symbol ORDER BY w.window_start)
  ),

  judged AS (
    SELECT
      *,
      -- Minutes of which every trade is gone: only ids tell of them, and how many they were is not known.
      first_agg_trade_id != COALESCE(previous_id + 1, first_agg_trade_id) AS follows_a_gap,
      IF(
        TIMESTAMP_DIFF(window_start, previous_start, SECOND) = 60 AND DATE(previous_start) = window_date, LN(close_price / previous_close), NULL
      ) AS log_return
    FROM windows
    WHERE window_date BETWEEN {{ first_date }} AND {{ last_date }}
  ),

  days AS (
    SELECT
      symbol, window_date AS date,
      ARRAY_AGG(open_price ORDER BY window_start ASC LIMIT 1)[OFFSET(0)] AS open_price,
      MAX(high_price) AS high_price, MIN(low_price) AS low_price,
      ARRAY_AGG(close_price ORDER BY window_start DESC LIMIT 1)[OFFSET(0)] AS close_price,
      SUM(base_volume) AS base_volume, SUM(quote_volume) AS quote_volume,
      SUM(taker_buy_base_volume) AS taker_buy_base_volume, SUM(taker_buy_quote_volume) AS taker_buy_quote_volume,
      SUM(agg_trade_count) AS agg_trade_count, SUM(trade_count) AS trade_count,
      COUNT(*) AS window_count, COUNTIF(is_complete) AS complete_window_count, COUNTIF(follows_a_gap) AS gap_count,
      COUNT(log_return) AS return_count, SQRT(SUM(log_return * log_return)) AS volatility
    FROM judged
    GROUP BY symbol, window_date
  )

  SELECT
    d.symbol, d.date, m.asset_id, d.open_price, d.high_price, d.low_price, d.close_price,
    d.quote_volume / d.base_volume AS volume_weighted_average_price, d.base_volume, d.quote_volume,
    d.taker_buy_base_volume, d.taker_buy_quote_volume, d.agg_trade_count, d.trade_count, d.window_count, d.complete_window_count,
    d.complete_window_count / (d.window_count + d.gap_count) AS coverage, d.return_count,
    IF(d.complete_window_count = d.window_count AND d.gap_count = 0 AND d.return_count > 0, d.volatility, NULL) AS realised_volatility,
    d.complete_window_count = d.window_count AND d.gap_count = 0 AS is_complete
  FROM days AS d
  LEFT JOIN {{ trade_symbol_dim }} AS m ON d.symbol = m.symbol
);
