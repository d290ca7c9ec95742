-- What the marts must look at again: the dates of the rows that this batch has now, and of those that it had before and lost.
MERGE {{ target }} AS t
USING (
  SELECT
    {{ batch_id }} AS batch_id, {{ fact_name }} AS table_name, MIN({{ fact_date }}) AS first_date, MAX({{ fact_date }}) AS last_date,
    COUNT(*) AS rows_published, CURRENT_TIMESTAMP() AS published_at, CAST(NULL AS TIMESTAMP) AS refreshed_at
  FROM {{ fact }}
  WHERE {{ fact_date }} BETWEEN {{ first_date }} AND {{ last_date }} AND batch_id = {{ batch_id }}
) AS s
ON t.batch_id = s.batch_id AND t.table_name = s.table_name
WHEN MATCHED THEN
  UPDATE SET
    first_date = LEAST(t.first_date, COALESCE(s.first_date, t.first_date)),
    last_date = GREATEST(t.last_date, COALESCE(s.last_date, t.last_date)),
    rows_published = s.rows_published, published_at = s.published_at, refreshed_at = s.refreshed_at
WHEN NOT MATCHED AND s.rows_published > 0 THEN INSERT ({{ columns }}) VALUES ({{ values }});
