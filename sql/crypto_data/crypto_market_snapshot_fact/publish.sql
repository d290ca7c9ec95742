{% if holds_all %}
-- A rerun replaces its own rows: those that it no longer has go. Files take nothing away, since they need not hold all that others held.
DELETE FROM {{ target }}
WHERE snapshot_date = {{ snapshot_date }} AND batch_id = {{ batch_id }}
  AND asset_id NOT IN (SELECT asset_id FROM {{ staging }} WHERE asset_id IS NOT NULL);

{% endif %}
-- Of two batches of one instant the row known last stays, whatever the order in which they are published. Both statements prune to one partition.
MERGE {{ target }} AS t
USING {{ staging }} AS s
ON t.snapshot_date = {{ snapshot_date }} AND {{ same_key }}
WHEN MATCHED AND {{ is_newer }} THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
