-- Grouped by the date too, which the batch says already: so a filter by it reaches the table.
SELECT
  batch_id, MAX_BY(run_id, started_at) AS run_id, MAX(started_at) AS started_at, MAX_BY(finished_at, started_at) AS finished_at, snapshot_at, snapshot_date,
  {% for name in ("table_name", "status", "mode", "source_id") %}
  NULLIF(MAX_BY(COALESCE({{ name }}, ''), started_at), '') AS {{ name }},
  {% endfor %}
  universe, quote_currency,
  {% for name in ("rows_read", "rows_rejected", "rows_published") %}
  MAX_BY({{ name }}, started_at) AS {{ name }},
  {% endfor %}
  NULLIF(MAX_BY(COALESCE(error_message, ''), started_at), '') AS error_message, COUNT(*) AS runs, CAST(SUM(api_calls) AS INT64) AS api_calls
FROM {{ ingestion_batch }}
GROUP BY batch_id, snapshot_at, snapshot_date, universe, quote_currency
