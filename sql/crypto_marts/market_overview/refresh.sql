-- A changed price reaches the change of the next day and the 30-day average of the 29 days after it; a changed index its own day.
{% from "macros.sql" import is_wrapped %}
INSERT INTO marts_days (date)
SELECT date FROM (
{% if is_market %}
SELECT DISTINCT d AS date
FROM (SELECT DISTINCT date FROM marts_changed) AS c CROSS JOIN UNNEST(GENERATE_DATE_ARRAY(c.date, DATE_ADD(c.date, INTERVAL 29 DAY))) AS d
{% endif %}
{% for range in sentiment_ranges %}
{{ "UNION DISTINCT" if is_market or not loop.first }}
SELECT d AS date FROM UNNEST(GENERATE_DATE_ARRAY({{ range[0] }}, {{ range[1] }})) AS d
{% endfor %}
) AS t;

DELETE FROM {{ market_overview }} AS o
WHERE o.date BETWEEN {{ first_date }} AND {{ last_date }} AND o.date IN (SELECT d.date FROM marts_days AS d);

INSERT INTO {{ market_overview }} ({{ columns }})
SELECT {{ columns }}
FROM (
  WITH market AS (
    SELECT m.date, m.quote_currency, m.asset_id, m.price, m.market_cap, m.total_volume, m.price_change_percentage_1d, m.sma_30d, m.price_source
    FROM {{ market_daily }} AS m
    INNER JOIN marts_days AS d ON m.date = d.date
    WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }}
  ),

  totals AS (
    SELECT
      date, quote_currency, COUNT(*) AS assets, SUM(market_cap) AS total_market_cap, SUM(total_volume) AS total_volume,
      MAX(IF(asset_id = 'bitcoin' AND market_cap > 0, market_cap, NULL)) AS bitcoin, MAX(IF(asset_id = 'ethereum' AND market_cap > 0, market_cap, NULL)) AS ethereum,
      COUNTIF(price_change_percentage_1d > 0) AS advancers, COUNTIF(price_change_percentage_1d < 0) AS decliners,
      COUNTIF(price_change_percentage_1d = 0) AS unchanged,
      COUNTIF(market_cap > 0) AS covered_assets, SUM(IF({{ is_wrapped("asset_id") }}, market_cap, 0)) AS wrapped_market_cap, LOGICAL_AND(price_source = 'history') AS is_backfilled,
      100 * (COUNTIF(price > sma_30d) / NULLIF(COUNT(sma_30d), 0)) AS above_sma_30d_percentage
    FROM market
    GROUP BY date, quote_currency
  ),

  large AS (
    SELECT date, quote_currency, asset_id, price_change_percentage_1d
    FROM market
    QUALIFY ROW_NUMBER() OVER (PARTITION BY date, quote_currency ORDER BY market_cap DESC NULLS LAST, asset_id ASC) <= {{ signals.movers_among }}
  ),

{% for name, sign, order in (("gainers", ">", "DESC"), ("losers", "<", "ASC")) %}
  {{ name }} AS (
    SELECT date, quote_currency, TO_JSON_STRING(ARRAY_AGG(STRUCT(asset_id AS asset_id, price_change_percentage_1d AS price_change_percentage_1d) ORDER BY price_change_percentage_1d {{ order }}, asset_id LIMIT {{ signals.movers }})) AS named
    FROM large
    WHERE price_change_percentage_1d {{ sign }} 0
    GROUP BY date, quote_currency
  ){{ "," if not loop.last }}

{% endfor %}
  SELECT
    t.date, t.quote_currency, t.assets, t.total_market_cap, t.total_volume,
    IF(t.covered_assets >= {{ signals.dominance_among }}, 100 * (t.bitcoin / NULLIF(t.total_market_cap, 0)), NULL) AS bitcoin_dominance_percentage,
    IF(t.covered_assets >= {{ signals.dominance_among }}, 100 * (t.ethereum / NULLIF(t.total_market_cap, 0)), NULL) AS ethereum_dominance_percentage,
    t.advancers, t.decliners, t.unchanged, t.above_sma_30d_percentage, t.covered_assets, t.wrapped_market_cap, t.is_backfilled, g.named AS gainers, l.named AS losers,
    f.value AS fear_greed_value, f.classification AS fear_greed_classification
  FROM totals AS t
  LEFT JOIN gainers AS g ON t.date = g.date AND t.quote_currency = g.quote_currency
  LEFT JOIN losers AS l ON t.date = l.date AND t.quote_currency = l.quote_currency
  LEFT JOIN {{ fear_greed_fact }} AS f ON t.date = f.date
);
