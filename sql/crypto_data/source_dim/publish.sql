-- The rows are those of coinbeam/sources/registry.py. Only what differs is written: two publishes that change the same row conflict.
MERGE {{ target }} AS t
USING (
  {% for source in sources %}
  SELECT
    {{ source.source_id }} AS source_id, {{ source.name }} AS name, {{ source.kind }} AS kind,
    {{ source.url }} AS url, {{ source.attribution }} AS attribution, {{ source.description }} AS description
  {% if not loop.last %}
  UNION ALL
  {% endif %}
  {% endfor %}
) AS s
ON {{ same_key }}
WHEN MATCHED AND ({{ differs }}) THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
