MERGE {{ target }} AS t
USING (
  SELECT
    m AS time_id, DIV(m, 60) AS hour, MOD(m, 60) AS minute,
    CONCAT(LPAD(CAST(DIV(m, 60) AS STRING), 2, '0'), ':', LPAD(CAST(MOD(m, 60) AS STRING), 2, '0')) AS time_label,
    CASE WHEN m < 360 THEN 'night' WHEN m < 720 THEN 'morning' WHEN m < 1080 THEN 'afternoon' ELSE 'evening' END AS day_part
  FROM UNNEST(GENERATE_ARRAY(0, 1439)) AS m
) AS s
ON {{ same_key }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
