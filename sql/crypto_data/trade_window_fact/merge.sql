-- Of the panes of the touched windows, the one of each that knows most; a row gives way only to one that knows more, so that any order and any
-- repetition of merges ends the same.
MERGE {{ trade_window_fact }} AS t
USING (
  SELECT {{ columns }}
  FROM {{ trade_window_pane }}
  WHERE window_date BETWEEN {{ first_date }} AND {{ last_date }} AND window_start BETWEEN {{ first_start }} AND {{ last_start }}
    {% if run_id %}AND run_id = {{ run_id }}{% endif %}

  QUALIFY ROW_NUMBER() OVER (PARTITION BY symbol, window_start ORDER BY agg_trade_count DESC, mark_count DESC, written_at ASC) = 1
) AS s
ON t.symbol = s.symbol AND t.window_start = s.window_start AND t.window_date = s.window_date AND t.window_date BETWEEN {{ first_date }} AND {{ last_date }}
WHEN MATCHED AND (s.agg_trade_count > t.agg_trade_count OR (s.agg_trade_count = t.agg_trade_count AND s.mark_count > t.mark_count)) THEN UPDATE SET
  {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }})
