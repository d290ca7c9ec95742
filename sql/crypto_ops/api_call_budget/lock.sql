-- The row on which the reservations of a month take turns. Two of them, written at the same moment, do no harm: every reservation that sees
-- both updates both.
INSERT INTO {{ target }} (entry_id, budget_month, source_id, job, calls_reserved, calls_spent, calls_per_month, reserved_at, settled_at)
SELECT @lock_id, @month, @source_id, 'lock', 0, 0, @calls_per_month, @now, @now
FROM (SELECT 1 AS one) AS single_row
WHERE NOT EXISTS (SELECT 1 FROM {{ target }} WHERE budget_month = @month AND entry_id = @lock_id);
