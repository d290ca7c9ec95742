DELETE FROM {{ target }} WHERE budget_month = @month AND entry_id = @entry_id;
