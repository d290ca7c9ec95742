{% if holds_all %}
-- A rerun replaces its own rows: those that it no longer has go. One that brings no rates at all takes none away: an answer that failed
-- says nothing of the one before it.
DELETE FROM {{ target }}
WHERE snapshot_date = {{ snapshot_date }} AND batch_id = {{ batch_id }}
  AND EXISTS (SELECT 1 FROM {{ staging }})
  AND currency NOT IN (SELECT currency FROM {{ staging }} WHERE currency IS NOT NULL);

{% endif %}
-- Of two batches of one instant the row known last stays, whatever the order in which they are published.
MERGE {{ target }} AS t
USING {{ staging }} AS s
ON t.snapshot_date = {{ snapshot_date }} AND {{ same_key }}
WHEN MATCHED AND {{ is_newer }} THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
