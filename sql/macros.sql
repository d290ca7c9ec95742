{#- What the marts share. Every range is a pair of date literals: only literals prune partitions. -#}

{#- Whether a snapshot was taken so soon after midnight that it may stand for its day; a later one would look ahead. Of a coin that nobody traded
    since, the answer is old: when it came decides too, else a late snapshot would leave a market of such coins alone. -#}
{% macro stands_for_day(late_after_seconds) -%}
TIMESTAMP_DIFF(GREATEST(observed_at, ingested_at), TIMESTAMP(snapshot_date), SECOND) <= {{ late_after_seconds }}
{%- endmacro %}

{#- The observation that stands for each day of a range: of the daily history where it has the day, else the first snapshot of the day, unless it is late. -#}
{% macro daily_market(range, daily_fact, snapshot_fact, late_after_seconds) %}
SELECT asset_id, quote_currency, date, price, market_cap, total_volume, 'history' AS price_source, observed_at, source_id, batch_id
FROM {{ daily_fact }}
WHERE date BETWEEN {{ range[0] }} AND {{ range[1] }}
UNION ALL
SELECT
  s.asset_id, s.quote_currency, s.snapshot_date, s.current_price, s.market_cap, s.total_volume, 'snapshot', s.observed_at, s.source_id, s.batch_id
FROM {{ snapshot_fact }} AS s
INNER JOIN (
  SELECT asset_id, quote_currency, MIN(snapshot_at) AS snapshot_at
  FROM {{ snapshot_fact }}
  WHERE snapshot_date BETWEEN {{ range[0] }} AND {{ range[1] }} AND {{ stands_for_day(late_after_seconds) }}
  GROUP BY asset_id, quote_currency, snapshot_date
) AS f ON s.asset_id = f.asset_id AND s.quote_currency = f.quote_currency AND s.snapshot_at = f.snapshot_at
LEFT JOIN (
  SELECT asset_id, quote_currency, date FROM {{ daily_fact }} WHERE date BETWEEN {{ range[0] }} AND {{ range[1] }}
) AS h ON s.asset_id = h.asset_id AND s.quote_currency = h.quote_currency AND s.snapshot_date = h.date
WHERE s.snapshot_date BETWEEN {{ range[0] }} AND {{ range[1] }} AND h.asset_id IS NULL
{% endmacro %}

{#- The asset days of the ranges on which market_daily does not say what the facts say: new, revised or, where is_gone, retracted. -#}
{% macro changed_days(ranges, daily_fact, snapshot_fact, market_daily, late_after_seconds) %}
{% for range in ranges %}
SELECT
  COALESCE(f.asset_id, m.asset_id) AS asset_id, COALESCE(f.quote_currency, m.quote_currency) AS quote_currency, COALESCE(f.date, m.date) AS date,
  f.asset_id IS NULL AS is_gone, f.price, f.market_cap, f.total_volume, f.price_source, f.observed_at, f.source_id, f.batch_id
FROM ({{ daily_market(range, daily_fact, snapshot_fact, late_after_seconds) }}) AS f
FULL OUTER JOIN (
  SELECT asset_id, quote_currency, date, price, market_cap, total_volume, price_source, observed_at, source_id, batch_id
  FROM {{ market_daily }}
  WHERE date BETWEEN {{ range[0] }} AND {{ range[1] }}
) AS m ON f.asset_id = m.asset_id AND f.quote_currency = m.quote_currency AND f.date = m.date
WHERE f.asset_id IS NULL OR m.asset_id IS NULL OR f.price != m.price OR f.market_cap IS DISTINCT FROM m.market_cap
  OR f.total_volume IS DISTINCT FROM m.total_volume OR f.price_source != m.price_source OR f.observed_at != m.observed_at
  OR f.source_id != m.source_id OR f.batch_id != m.batch_id{{ "\nUNION ALL\n" if not loop.last }}
{%- endfor %}
{%- endmacro %}

{#- Whether a date lies in one of the ranges. -#}
{% macro within(date, ranges) -%}
({% for range in ranges %}{{ date }} BETWEEN {{ range[0] }} AND {{ range[1] }}{{ " OR " if not loop.last }}{% endfor %})
{%- endmacro %}

{#- The sample standard deviation of n values from the sums of their distances to one of them, and of the squares of these.
    Shifted by a member of the window the subtraction loses at most a factor n, and equal values give exactly 0. -#}
{% macro sample_deviation(sum, squares, n) -%}
SQRT(GREATEST({{ squares }} - {{ sum }} * {{ sum }} / {{ n }}, 0) / {{ n - 1 }})
{%- endmacro %}

{#- Whether an asset is another one in a wrapper: its price is that of the original, and its market cap counts coins a second time.
    CoinGecko makes ids from names, and names such coins so. -#}
{% macro is_wrapped(asset_id) -%}
REGEXP_CONTAINS({{ asset_id }}, r'(^|-)(wrapped|bridged|peg|weth)(-|$)')
{%- endmacro %}

{#- The score of a class of the index; the classes and their scores stand in the contract of fear_greed_fact. -#}
{% macro sentiment_score(classification, bands) -%}
CASE {{ classification }}{% for band in bands %} WHEN '{{ band.name }}' THEN {{ band.score }}{% endfor %} END
{%- endmacro %}

{% macro combined_signal(ma30_signal, value, fear_below, greed_above) -%}
CASE
  WHEN {{ ma30_signal }} = 'BELOW' AND {{ value }} < {{ fear_below }} THEN 'POTENTIAL_BUY'
  WHEN {{ ma30_signal }} = 'ABOVE' AND {{ value }} > {{ greed_above }} THEN 'POTENTIAL_SELL'
  ELSE 'HOLD'
END
{%- endmacro %}

{#- Number and digest of the rows of a table, as one text: the digest is the exclusive or of 60 bits of the MD5 of each row, whatever their order. -#}
{% macro seal(row) -%}
CONCAT(
  CAST(COUNT(*) AS STRING), ':',
  CAST(COALESCE(BIT_XOR(CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5(TO_JSON_STRING({{ row }}))), 1, 15)) AS INT64)), 0) AS STRING)
)
{%- endmacro %}
