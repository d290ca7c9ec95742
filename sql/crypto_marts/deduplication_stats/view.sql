SELECT
  batch_id, run_id, started_at, table_name, snapshot_at, snapshot_date, status, rows_read, rows_duplicate, rows_surplus, rows_unpriced, rows_rejected, rows_published,
  points_superseded, points_now, points_outside,
  rows_read - rows_duplicate - rows_surplus - rows_unpriced - rows_rejected - rows_valid - COALESCE(points_superseded, 0) - COALESCE(points_now, 0)
  - COALESCE(points_outside, 0) AS rows_unaccounted,
  {% for name in ("duplicate", "surplus", "unpriced", "rejected", "published") %}
  100 * (rows_{{ name }} / NULLIF(rows_read, 0)) AS {{ name }}_percentage{{ "," if not loop.last }}
  {% endfor %}
FROM {{ ingestion_batch }}
