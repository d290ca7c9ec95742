-- One statement, so that the sum and the new row belong together. Inserts alone never conflict with each other in BigQuery; the update of
-- the lock row does, so that of two reservations at the same moment the later one is refused and tried again with the new sum.
MERGE {{ target }} AS t
USING (
  WITH granted AS (
    SELECT DIV(LEAST(@wanted, @calls_per_month - spent), @multiple) * @multiple AS calls
    FROM (
      SELECT COALESCE(SUM(COALESCE(calls_spent, calls_reserved)), 0) AS spent
      FROM {{ target }}
      WHERE budget_month = @month AND source_id = @source_id AND entry_id != @entry_id
    )
  )

  SELECT @lock_id AS entry_id, TRUE AS is_lock, 0 AS calls FROM granted WHERE calls >= @needed
  UNION ALL
  SELECT @entry_id AS entry_id, FALSE AS is_lock, calls FROM granted WHERE calls >= @needed
) AS s
ON t.budget_month = @month AND t.entry_id = s.entry_id
WHEN MATCHED AND s.is_lock THEN UPDATE SET reserved_at = @now, calls_per_month = @calls_per_month
WHEN NOT MATCHED AND NOT s.is_lock THEN
  INSERT (entry_id, budget_month, source_id, batch_id, job, run_label, calls_reserved, calls_per_month, reserved_at)
  VALUES (s.entry_id, @month, @source_id, @batch_id, @job, @run_label, s.calls, @calls_per_month, @now);
