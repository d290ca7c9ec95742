MERGE {{ target }} AS t
USING (SELECT @dag_id AS dag_id, @task_id AS task_id, @error_class AS error_class, @batch_id AS batch_id) AS s
ON t.dag_id = s.dag_id AND t.task_id = s.task_id AND t.error_class = s.error_class AND t.closed_at IS NULL
  AND COALESCE(t.batch_id, '') = COALESCE(s.batch_id, '')
WHEN MATCHED THEN
  UPDATE SET occurrences = t.occurrences + 1, last_seen_at = @now, last_run_id = @run_id, title = @title, message = @message, recovered_at = NULL
WHEN NOT MATCHED THEN
  INSERT (incident_id, dag_id, task_id, error_class, batch_id, title, opened_at, last_seen_at, occurrences, last_run_id, message)
  VALUES (@incident_id, s.dag_id, s.task_id, s.error_class, s.batch_id, @title, @now, @now, 1, @run_id, @message);
