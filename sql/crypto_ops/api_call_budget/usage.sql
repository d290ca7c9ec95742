SELECT
  COALESCE(SUM(calls_spent), 0) AS spent,
  COALESCE(SUM(IF(calls_spent IS NULL, calls_reserved, 0)), 0) AS reserved,
  COALESCE(SUM(IF(DATE(reserved_at) = @today, COALESCE(calls_spent, calls_reserved), 0)), 0) AS today
FROM {{ target }}
WHERE budget_month = @month AND source_id = @source_id AND (@job IS NULL OR job = @job);
