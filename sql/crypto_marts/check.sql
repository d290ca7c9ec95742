-- The literal bounds come from the plan. A publish between plan and refresh may have touched more; then nothing is written, and the next plan knows.
{% if is_market %}
WITH present AS (
  SELECT DISTINCT b.asset_id, b.quote_currency
  FROM {{ market_daily }} AS m
  INNER JOIN marts_touched AS b ON m.asset_id = b.asset_id AND m.quote_currency = b.quote_currency AND m.date < b.first_date
  WHERE m.date BETWEEN {{ look_back_from }} AND {{ last_date }}
)

SELECT
  IF(
    COUNTIF(
      t.first_date < {{ first_date }} OR GREATEST(t.last_date, COALESCE(s.last_date, t.last_date)) > {{ last_date }}
      OR (s.first_date < t.first_date AND p.asset_id IS NULL)
    ) > 0,
    ERROR('coinbeam: a publish overtook the plan of the marts'), 0
  ) AS overtaken
FROM marts_touched AS t
LEFT JOIN {{ asset_stats }} AS s ON t.asset_id = s.asset_id AND t.quote_currency = s.quote_currency
LEFT JOIN present AS p ON t.asset_id = p.asset_id AND t.quote_currency = p.quote_currency;
{% else %}
SELECT IF(COUNT(*) > 0, ERROR('coinbeam: a publish overtook the plan of the marts'), 0) AS overtaken FROM marts_touched;
{% endif %}
