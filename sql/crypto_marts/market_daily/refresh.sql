-- One stretch of days of the touched assets, from their first touched day on: windows read back {{ look_back }} days, everything that reaches
-- further is carried by the running columns of the row before.
{% from "macros.sql" import sample_deviation, sentiment_score, combined_signal %}
{% set keys = "asset_id, quote_currency" %}
DELETE FROM marts_recomputed WHERE TRUE;

INSERT INTO marts_recomputed ({{ columns }})
SELECT {{ columns }}
FROM (
  WITH touched AS (
    SELECT asset_id, quote_currency, GREATEST(first_date, {{ first_date }}) AS first_date
    FROM marts_touched
    WHERE first_date <= {{ last_date }}
  ),

  before AS (
    SELECT m.*, t.first_date
    FROM {{ market_daily }} AS m
    INNER JOIN touched AS t ON m.asset_id = t.asset_id AND m.quote_currency = t.quote_currency AND m.date < t.first_date
    WHERE m.date BETWEEN {{ look_back_from }} AND {{ last_date }}
    QUALIFY m.date >= DATE_SUB(t.first_date, INTERVAL {{ look_back }} DAY) OR m.date = MAX(m.date) OVER (PARTITION BY m.asset_id, m.quote_currency)
  ),

  series AS (
    SELECT
      FALSE AS is_new, asset_id, quote_currency, date, price, market_cap, total_volume, price_source, observed_at, source_id, batch_id,
      market_cap_rank, previous_rank, date = MAX(date) OVER (PARTITION BY asset_id, quote_currency) AS is_state,
      DATE_SUB(date, INTERVAL consecutive_days - 1 DAY) AS stored_run_start, wilder_gain, wilder_loss, tracked_since, days_tracked,
      running_high, running_high_date, running_low, running_low_date, running_maximum_drawdown_percentage, running_price_sum,
      running_market_cap_sum, market_cap_days, running_volume_sum, volume_days
    FROM before
    UNION ALL
    SELECT
      TRUE, n.asset_id, n.quote_currency, n.date, n.price, n.market_cap, n.total_volume, n.price_source, n.observed_at, n.source_id, n.batch_id,
      n.market_cap_rank, n.previous_rank, FALSE, NULL, NULL, NULL, n.date AS tracked_since, 1, n.price AS running_high, NULL, n.price AS running_low, NULL, NULL, n.price AS running_price_sum,
      IF(n.market_cap > 0, n.market_cap, 0), IF(n.market_cap > 0, 1, 0), COALESCE(n.total_volume, 0), IF(n.total_volume IS NULL, 0, 1)
    FROM (
      SELECT m.asset_id, m.quote_currency, m.date, m.price, m.market_cap, m.total_volume, m.price_source, m.observed_at, m.source_id, m.batch_id,
        m.market_cap_rank, m.previous_rank
      FROM {{ market_daily }} AS m
      INNER JOIN touched AS t ON m.asset_id = t.asset_id AND m.quote_currency = t.quote_currency AND m.date >= t.first_date
      LEFT JOIN marts_changed AS c ON m.asset_id = c.asset_id AND m.quote_currency = c.quote_currency AND m.date = c.date
      WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }} AND c.asset_id IS NULL
      UNION ALL
      SELECT asset_id, quote_currency, date, price, market_cap, total_volume, price_source, observed_at, source_id, batch_id, NULL, NULL
      FROM marts_changed
      WHERE date BETWEEN {{ first_date }} AND {{ last_date }} AND NOT is_gone
    ) AS n
  ),

  linked AS (
    SELECT
      *, MAX(running_high) OVER earlier AS high_before, MIN(running_low) OVER earlier AS low_before,
      IF(LAG(date) OVER w = DATE_SUB(date, INTERVAL 1 DAY), LAG(price) OVER w, NULL) AS price_1d_before
    FROM series
    WINDOW
      w AS (PARTITION BY {{ keys }} ORDER BY date),
      earlier AS (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
  ),

  -- ln(a / b) = 2 atanh((a - b) / (a + b)) keeps its digits where a is near b.
  changes AS (
    SELECT
      *, price - price_1d_before AS change,
      CASE
        WHEN price > 2 * price_1d_before OR price_1d_before > 2 * price THEN LN(price / price_1d_before)
        ELSE 2 * ATANH((price - price_1d_before) / (price + price_1d_before))
      END AS log_return,
      COALESCE(
        MAX(CASE WHEN is_state THEN stored_run_start WHEN is_new AND price_1d_before IS NULL THEN date END) OVER (PARTITION BY {{ keys }} ORDER BY date ROWS UNBOUNDED PRECEDING),
        stored_run_start
      ) AS run_start
    FROM linked
  ),

  -- Each day with the days that it looks back to, named before they are joined: as one condition the engine would pair all days of an asset.
  looking_back AS (
    SELECT c.asset_id, c.quote_currency, c.date, c.price, c.log_return, c.total_volume, k, DATE_SUB(c.date, INTERVAL k DAY) AS earlier_date
    FROM changes AS c
    CROSS JOIN UNNEST(GENERATE_ARRAY(0, 30)) AS k
    WHERE c.is_new
  ),

  -- Values of a window as distances to the newest of them: see the macro sample_deviation.
  windows AS (
    SELECT
      n.asset_id, n.quote_currency, n.date,
    {% for days in (7, 30) %}
      MAX(IF(n.k = {{ days }}, o.price, NULL)) AS price_{{ days }}d_before,
    {% for x, value in (("p", "price"), ("r", "log_return")) %}
      SUM(IF(n.k < {{ days }}, o.{{ value }} - n.{{ value }}, NULL)) AS {{ x }}_sum_{{ days }},
      SUM(IF(n.k < {{ days }}, POW(o.{{ value }} - n.{{ value }}, 2), NULL)) AS {{ x }}_squares_{{ days }},
    {% endfor %}
    {% endfor %}
      SUM(IF(n.k < 7, o.total_volume - n.total_volume, NULL)) AS v_sum_7, COUNT(IF(n.k < 7, o.total_volume, NULL)) AS volumes
    FROM looking_back AS n
    INNER JOIN changes AS o ON n.asset_id = o.asset_id AND n.quote_currency = o.quote_currency AND n.earlier_date = o.date
    GROUP BY n.asset_id, n.quote_currency, n.date
  ),

  days AS (
    SELECT
      *, DATE_DIFF(date, run_start, DAY) + 1 AS run_days, GREATEST(change, 0) AS gain_today, GREATEST(-change, 0) AS loss_today,
      MAX(running_high) OVER w AS high, MIN(running_low) OVER w AS low
    FROM changes
    WINDOW w AS (PARTITION BY {{ keys }} ORDER BY date ROWS UNBOUNDED PRECEDING)
  ),

  -- Wilder's average without recursion: within a run avg(n) = q^n * sum(seed or x/14 at i, times q^-i) with q = 13/14, a sum of positive terms.
  terms AS (
    SELECT
      c.*, w.* EXCEPT (asset_id, quote_currency, date),
      100 * (c.price - c.high) / c.high AS drawdown, POW(13 / 14, GREATEST(DATE_DIFF(c.date, {{ first_date }}, DAY), -{{ look_back }})) AS decay,
    {% for side in ("gain", "loss") %}
      CASE
        WHEN c.is_state THEN COALESCE(c.wilder_{{ side }}, 0)
        WHEN c.is_new AND c.run_days = 15 THEN SUM(c.{{ side }}_today) OVER (PARTITION BY c.asset_id, c.quote_currency, c.run_start ORDER BY c.date ROWS UNBOUNDED PRECEDING) / 14
        WHEN c.is_new AND c.run_days > 15 THEN c.{{ side }}_today / 14
        ELSE 0
      END AS {{ side }}_term{{ "," if not loop.last }}
    {% endfor %}
    FROM days AS c
    LEFT JOIN windows AS w ON c.asset_id = w.asset_id AND c.quote_currency = w.quote_currency AND c.date = w.date
  ),

  running AS (
    SELECT
      *,
    {% for side in ("gain", "loss") %}
      IF(run_days >= 15, decay * SUM({{ side }}_term / decay) OVER (PARTITION BY {{ keys }}, run_start ORDER BY date ROWS UNBOUNDED PRECEDING), NULL) AS {{ side }},
    {% endfor %}
      MIN(tracked_since) OVER w AS since,
      MAX(IF(is_state, running_high_date, IF(is_new AND (high_before IS NULL OR price > high_before), date, NULL))) OVER w AS high_date,
      MAX(IF(is_state, running_low_date, IF(is_new AND (low_before IS NULL OR price < low_before), date, NULL))) OVER w AS low_date,
      MIN(IF(is_state, running_maximum_drawdown_percentage, IF(is_new, drawdown, NULL))) OVER w AS deepest,
    {% for name in ("days_tracked", "running_price_sum", "running_market_cap_sum", "market_cap_days", "running_volume_sum", "volume_days") %}
      SUM(IF(is_state OR is_new, {{ name }}, NULL)) OVER w AS total_{{ name }}{{ "," if not loop.last }}
    {% endfor %}
    FROM terms
    WINDOW w AS (PARTITION BY {{ keys }} ORDER BY date ROWS UNBOUNDED PRECEDING)
  ),

  measured AS (
    SELECT
      *,
    {% for n in (7, 30) %}
      IF(run_days >= {{ n }}, price + p_sum_{{ n }} / {{ n }}, NULL) AS sma_{{ n }}d,
      IF(run_days >= {{ n }}, {{ sample_deviation("p_sum_" ~ n, "p_squares_" ~ n, n) }}, NULL) AS volatility_{{ n }}d,
      IF(run_days > {{ n }}, {{ sample_deviation("r_sum_" ~ n, "r_squares_" ~ n, n) }} * SQRT(365), NULL) AS realized_volatility_{{ n }}d,
    {% endfor %}
      IF(volumes = 7, total_volume + v_sum_7 / 7, NULL) AS average_volume_7d,
      CASE WHEN run_days < 15 THEN NULL WHEN gain + loss = 0 THEN 50 ELSE 100 * (gain / (gain + loss)) END AS rsi_14d
    FROM running
  ),

  sentiment AS (SELECT date, value, classification FROM {{ fear_greed_fact }} WHERE date BETWEEN {{ first_date }} AND {{ last_date }}),

  signals AS (
    SELECT
      *,
      CASE
        WHEN price < sma_7d AND volatility_7d > {{ signals.min_volatility }} AND 100 * (volatility_7d / sma_7d) > {{ signals.min_volatility_percentage }} THEN 'BUY'
        WHEN price > sma_7d THEN 'SELL'
        ELSE 'WAIT'
      END AS signal,
      CASE WHEN price > sma_30d THEN 'ABOVE' WHEN price < sma_30d THEN 'BELOW' WHEN price = sma_30d THEN 'AT' END AS ma30_signal
    FROM measured
    WHERE is_new
  )

  SELECT
    m.asset_id, m.quote_currency, m.date, m.price, m.market_cap, m.total_volume,
  {% for n in (1, 7, 30) %}
    100 * (m.price - m.price_{{ n }}d_before) / m.price_{{ n }}d_before AS price_change_percentage_{{ n }}d,
  {% endfor %}
    m.sma_7d, m.sma_30d, m.volatility_7d, m.volatility_30d, m.volatility_7d AS price_deviation_7d, m.volatility_30d AS price_deviation_30d, m.realized_volatility_7d, m.realized_volatility_30d, m.rsi_14d, m.average_volume_7d,
    m.drawdown AS drawdown_percentage, m.signal, m.ma30_signal, f.value AS fear_greed_value, f.classification AS fear_greed_classification,
    {{ sentiment_score("f.classification", bands) }} AS sentiment_score,
    {{ combined_signal("m.ma30_signal", "f.value", signals.fear_below, signals.greed_above) }} AS combined_signal,
    m.run_days AS consecutive_days, m.gain AS wilder_gain, m.loss AS wilder_loss, m.since AS tracked_since, m.total_days_tracked AS days_tracked,
    m.high AS running_high, m.high_date AS running_high_date, m.low AS running_low, m.low_date AS running_low_date,
    m.deepest AS running_maximum_drawdown_percentage, m.total_running_price_sum AS running_price_sum,
    m.total_running_market_cap_sum AS running_market_cap_sum, m.total_market_cap_days AS market_cap_days,
    m.total_running_volume_sum AS running_volume_sum, m.total_volume_days AS volume_days,
    m.price_source, m.observed_at, m.source_id, m.batch_id, m.market_cap_rank, m.previous_rank, a.symbol, a.name
  FROM signals AS m
  LEFT JOIN sentiment AS f ON m.date = f.date
  LEFT JOIN {{ crypto_asset_dim }} AS a ON m.asset_id = a.asset_id AND a.is_current
);

DELETE FROM {{ market_daily }} AS m
WHERE m.date BETWEEN {{ first_date }} AND {{ last_date }}
  AND EXISTS (SELECT 1 FROM marts_touched AS t WHERE t.asset_id = m.asset_id AND t.quote_currency = m.quote_currency AND t.first_date <= m.date);

INSERT INTO {{ market_daily }} ({{ columns }})
SELECT {{ columns }} FROM marts_recomputed;
