UPDATE {{ target }} SET touched_at = @now, attempt = @attempt, run_id = @run_id, audited_at = @now, seals = @seals WHERE batch_id = @batch_id;
