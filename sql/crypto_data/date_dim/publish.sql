-- Only what differs is written: two publishes that change the same row conflict.
MERGE {{ target }} AS t
USING {{ staging }} AS s
ON {{ same_key }}
WHEN MATCHED AND ({{ differs }}) THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
