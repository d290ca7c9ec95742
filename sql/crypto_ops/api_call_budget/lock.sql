-- The row on which the reservations of a month take turns. Two of them, written at the same moment, do no harm: every reservation that sees
-- both updates both.
INSERT INTO {{ target }} (entry_id, budget_month, source_id, job, calls_reserved, calls_spent, calls_per_month, reserved_at, settled_at)
SELECT entry_id, budget_month, source_id, job, calls_reserved, calls_spent, calls_per_month, reserved_at, settled_at
FROM (
  SELECT
    @lock_id AS entry_id, @month AS budget_month, @source_id AS source_id, 'lock' AS job, 0 AS calls_reserved, 0 AS calls_spent,
    @calls_per_month AS calls_per_month, @now AS reserved_at, @now AS settled_at
) AS single_row
WHERE NOT EXISTS (SELECT 1 FROM {{ target }} WHERE budget_month = @month AND entry_id = @lock_id);
