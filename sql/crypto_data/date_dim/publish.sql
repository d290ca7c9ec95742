MERGE {{ target }} AS t
USING {{ staging }} AS s
ON {{ same_key }}
WHEN MATCHED THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
