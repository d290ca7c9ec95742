-- A day of the index that is new, revised or gone changes the sentiment of that day, and no other figure.
{% from "macros.sql" import sentiment_score, combined_signal %}
UPDATE {{ market_daily }} AS m
SET
  fear_greed_value = f.value, fear_greed_classification = f.classification, sentiment_score = {{ sentiment_score("f.classification", bands) }},
  combined_signal = {{ combined_signal("m.ma30_signal", "f.value", signals.fear_below, signals.greed_above) }}
FROM (
  SELECT d AS date, i.value, i.classification
  FROM UNNEST(GENERATE_DATE_ARRAY({{ first_date }}, {{ last_date }})) AS d
  LEFT JOIN {{ fear_greed_fact }} AS i ON i.date = d
) AS f
WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }} AND m.date = f.date
  AND (m.fear_greed_value IS DISTINCT FROM f.value OR m.fear_greed_classification IS DISTINCT FROM f.classification);
