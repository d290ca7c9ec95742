-- Two publishes of one batch at the same moment both change this row: the later one fails here, and is tried again when the first is through.
UPDATE {{ target }} SET touched_at = CURRENT_TIMESTAMP() WHERE batch_id = {{ batch_id }};
