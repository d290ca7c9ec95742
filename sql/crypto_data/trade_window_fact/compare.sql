-- Of the panes of a batch, the one of each window that knows most beside the row of the fact; figures are equal when every bit of them is.
WITH batch AS (
  SELECT *
  FROM {{ trade_window_pane }}
  WHERE window_date = {{ day }} AND run_id = {{ run_id }}
  QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol, window_start ORDER BY agg_trade_count DESC, mark_count DESC, pane_index DESC) = 1
),

stream AS (SELECT * FROM {{ trade_window_fact }} WHERE window_date = {{ day }}),

beside AS (
  SELECT
    COALESCE(b.symbol, f.symbol) AS symbol, COALESCE(b.window_start, f.window_start) AS window_start,
    CASE
      WHEN f.symbol IS NULL OR b.agg_trade_count > f.agg_trade_count OR (b.agg_trade_count = f.agg_trade_count AND b.mark_count > f.mark_count) THEN 'repaired'
      WHEN b.symbol IS NULL OR b.agg_trade_count < f.agg_trade_count OR (b.agg_trade_count = f.agg_trade_count AND b.mark_count < f.mark_count)
        THEN IF(f.written_at < {{ landed_before }}, 'lost', 'equal')
      WHEN {% for name in compared %}COALESCE(b.{{ name }} = f.{{ name }}, b.{{ name }} IS NULL AND f.{{ name }} IS NULL){{ " AND " if not loop.last }}{% endfor %} THEN 'equal'
      ELSE 'differing'
    END AS verdict
  FROM batch AS b
  FULL JOIN stream AS f ON b.symbol = f.symbol AND b.window_start = f.window_start
)

SELECT
  COUNTIF(verdict = 'equal') AS equal, COUNTIF(verdict = 'repaired') AS repaired, COUNTIF(verdict = 'lost') AS lost, COUNTIF(verdict = 'differing') AS differing,
  STRING_AGG(IF(verdict IN ('lost', 'differing'), CONCAT(symbol, ' ', CAST(window_start AS STRING)), NULL), ', ' ORDER BY symbol, window_start LIMIT 5) AS sample
FROM beside
