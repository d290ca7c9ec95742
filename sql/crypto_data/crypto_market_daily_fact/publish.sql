-- Late-arriving members: history may know an asset that no list has shown yet, or an earlier day of one.
MERGE {{ crypto_asset_dim }} AS t
USING (
  WITH known AS (
    SELECT asset_id, MIN(valid_from) AS first_from FROM {{ crypto_asset_dim }} GROUP BY asset_id
  )

  SELECT s.asset_id, TIMESTAMP(MIN(s.date)) AS known_from, MIN(s.source_id) AS source_id, MIN(k.first_from) AS first_from
  FROM {{ staging }} AS s
  LEFT JOIN known AS k ON s.asset_id = k.asset_id
  GROUP BY s.asset_id
) AS s
ON t.asset_id = s.asset_id AND t.valid_from = s.first_from
WHEN MATCHED AND t.valid_from > s.known_from THEN UPDATE SET valid_from = s.known_from
WHEN NOT MATCHED THEN
  INSERT (asset_id, valid_from, is_current, status, source_id, batch_id)
  VALUES (s.asset_id, s.known_from, TRUE, 'inferred', s.source_id, {{ batch_id }});

{% if holds_all %}
-- A rerun replaces its own rows: those that it no longer has go. A file takes nothing away, since it need not hold all that another one held.
DELETE FROM {{ target }} AS t
WHERE t.date BETWEEN {{ first_date }} AND {{ last_date }} AND t.batch_id = {{ batch_id }}
  AND NOT EXISTS (SELECT 1 FROM {{ staging }} AS s WHERE {{ same_key }});

{% endif %}
-- Of two points of a day the one nearest after 00:00 stands for it, of one stamp the one known last, whatever the order in which they are
-- published: clearing an old run puts no corrected value back.
MERGE {{ target }} AS t
USING {{ staging }} AS s
ON t.date BETWEEN {{ first_date }} AND {{ last_date }} AND {{ same_key }}
WHEN MATCHED AND (s.observed_at < t.observed_at OR (s.observed_at = t.observed_at AND {{ is_newer }})) THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
