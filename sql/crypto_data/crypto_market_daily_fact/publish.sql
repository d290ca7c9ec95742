-- Late-arriving members: history may know an asset that no list has shown yet.
INSERT INTO {{ crypto_asset_dim }} (asset_id, valid_from, is_current, status, source_id, batch_id)
SELECT asset_id, valid_from, is_current, status, source_id, batch_id
FROM (
  SELECT
    s.asset_id, TIMESTAMP(MIN(s.date)) AS valid_from, TRUE AS is_current, 'inferred' AS status, MIN(s.source_id) AS source_id,
    {{ batch_id }} AS batch_id
  FROM {{ staging }} AS s
  WHERE s.asset_id NOT IN (SELECT asset_id FROM {{ crypto_asset_dim }} WHERE is_current)
  GROUP BY s.asset_id
);

-- A rerun replaces exactly its own rows: those that it no longer has go, the rest is merged. Both statements prune to the batch's months.
DELETE FROM {{ target }} AS t
WHERE t.date BETWEEN {{ first_date }} AND {{ last_date }} AND t.batch_id = {{ batch_id }}
  AND NOT EXISTS (SELECT 1 FROM {{ staging }} AS s WHERE {{ same_key }});

MERGE {{ target }} AS t
USING {{ staging }} AS s
ON t.date BETWEEN {{ first_date }} AND {{ last_date }} AND {{ same_key }}
WHEN MATCHED THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
