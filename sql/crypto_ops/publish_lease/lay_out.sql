-- The row on which the transactions of a batch take turns. Two of them, written at the same moment, do no harm: every statement updates both.
INSERT INTO {{ target }} (batch_id, touched_at)
SELECT batch_id, touched_at
FROM (SELECT @batch_id AS batch_id, @now AS touched_at) AS single_row
WHERE NOT EXISTS (SELECT 1 FROM {{ target }} WHERE batch_id = @batch_id);
