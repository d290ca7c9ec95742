-- The whole index comes every day; only what is new or was revised changes hands, so that the marts look at those days alone.
-- An older answer that is published again revises nothing.
MERGE {{ target }} AS t
USING {{ staging }} AS s
ON {{ same_key }}
WHEN MATCHED AND (t.value != s.value OR t.classification != s.classification) AND {{ is_newer }} THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
