-- Slowly changing dimension, type 2, in one statement, so that no reader sees an asset without a current version.
-- A row of the source either amends the current version, closes it, or opens a new one ("open" never matches, so it inserts).
MERGE {{ target }} AS t
USING (
  WITH current_version AS (
    SELECT * FROM {{ target }} WHERE is_current
  ),

  -- Details (categories and the rest) are refreshed by need: without fresh ones, the known ones stay.
  listed AS (
    SELECT
      s.asset_id, s.symbol, s.name, s.status, s.platforms,
      {% for column in detail_columns -%}
      IF(s.details_at IS NULL, c.{{ column }}, s.{{ column }}) AS {{ column }},
      {% endfor -%}
      COALESCE(s.details_at, c.details_at) AS details_at, s.source_id, s.batch_id
    FROM {{ staging }} AS s
    LEFT JOIN current_version AS c ON s.asset_id = c.asset_id
  ),

  -- Late-arriving members: a snapshot may know an asset that the list does not, or the name of one that only history knew.
  inferred AS (
    SELECT
      f.asset_id, f.symbol, f.name, 'inferred' AS status, CAST(NULL AS STRING) AS platforms,
      {% for column in detail_columns -%}
      CAST(NULL AS {{ types[column] }}) AS {{ column }},
      {% endfor -%}
      CAST(NULL AS TIMESTAMP) AS details_at, f.source_id, f.batch_id
    FROM {{ fact_staging }} AS f
    WHERE f.asset_id NOT IN (SELECT asset_id FROM listed) AND f.asset_id NOT IN (SELECT asset_id FROM current_version WHERE name IS NOT NULL OR status != 'inferred')
  ),

  -- An asset that left the list is inactive, unless there was no list in this batch.
  vanished AS (
    SELECT
      c.asset_id, c.symbol, c.name, 'inactive' AS status, c.platforms,
      {% for column in detail_columns -%}
      c.{{ column }},
      {% endfor -%}
      c.details_at, c.source_id, {{ batch_id }} AS batch_id
    FROM current_version AS c
    WHERE c.status = 'active' AND c.asset_id NOT IN (SELECT asset_id FROM listed) AND EXISTS (SELECT 1 FROM {{ staging }})
  ),

  incoming AS (
    SELECT * FROM listed
    UNION ALL
    SELECT * FROM inferred
    UNION ALL
    SELECT * FROM vanished
  ),

  compared AS (
    SELECT
      i.*, {{ snapshot_at }} AS valid_from, CAST(NULL AS TIMESTAMP) AS valid_to, TRUE AS is_current,
      c.asset_id IS NULL AS is_new, c.valid_from AS known_from, c.status = 'inferred' AND c.name IS NULL AS is_nameless,
      ({% for column in tracked_columns %}{{ " OR " if not loop.first }}c.{{ column }} IS DISTINCT FROM i.{{ column }}{% endfor %}) AS is_changed,
      c.details_at IS DISTINCT FROM i.details_at AS is_refreshed
    FROM incoming AS i
    LEFT JOIN current_version AS c ON i.asset_id = c.asset_id
  ),

  -- A batch older than the current version knows nothing newer and leaves it alone. What history inferred without a name is filled in place.
  planned AS (
    SELECT
      *,
      CASE
        WHEN is_new THEN 'open'
        WHEN known_from > {{ snapshot_at }} THEN 'keep'
        WHEN is_changed AND is_nameless THEN 'amend'
        WHEN is_changed AND known_from < {{ snapshot_at }} THEN 'supersede'
        WHEN is_changed OR is_refreshed THEN 'amend'
        ELSE 'keep'
      END AS plan
    FROM compared
  )

  SELECT *, IF(plan = 'supersede', 'close', plan) AS action FROM planned WHERE plan != 'keep'
  UNION ALL
  SELECT *, 'open' AS action FROM planned WHERE plan = 'supersede'
) AS s
ON t.asset_id = s.asset_id AND t.is_current AND s.action IN ('amend', 'close')
WHEN MATCHED AND s.action = 'close' THEN UPDATE SET valid_to = {{ snapshot_at }}, is_current = FALSE
WHEN MATCHED THEN UPDATE SET {{ amendments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});

-- Validity reaches back to the first instant at which an asset is known, whatever the order of the batches.
MERGE {{ target }} AS t
USING (
  SELECT v.asset_id, MIN(v.valid_from) AS first_from
  FROM {{ target }} AS v
  INNER JOIN {{ fact_staging }} AS f ON v.asset_id = f.asset_id
  GROUP BY v.asset_id
) AS s
ON t.asset_id = s.asset_id AND t.valid_from = s.first_from
WHEN MATCHED AND t.valid_from > {{ snapshot_at }} THEN UPDATE SET valid_from = {{ snapshot_at }};
