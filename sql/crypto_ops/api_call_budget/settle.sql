UPDATE {{ target }} SET calls_spent = @spent, settled_at = @now WHERE budget_month = @month AND entry_id = @entry_id;
