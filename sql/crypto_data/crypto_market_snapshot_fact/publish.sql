-- A rerun replaces exactly its own rows: those that it no longer has go, the rest is merged. Both statements prune to one partition.
DELETE FROM {{ target }}
WHERE snapshot_date = {{ snapshot_date }} AND batch_id = {{ batch_id }}
  AND asset_id NOT IN (SELECT asset_id FROM {{ staging }} WHERE asset_id IS NOT NULL);

MERGE {{ target }} AS t
USING {{ staging }} AS s
ON t.snapshot_date = {{ snapshot_date }} AND {{ same_key }}
WHEN MATCHED THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
