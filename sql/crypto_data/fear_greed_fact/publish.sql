-- The whole index comes every day; only what is new or was revised changes hands, so that the marts look at those days alone.
MERGE {{ target }} AS t
USING {{ staging }} AS s
ON {{ same_key }}
WHEN MATCHED AND (t.value != s.value OR t.classification != s.classification) THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
