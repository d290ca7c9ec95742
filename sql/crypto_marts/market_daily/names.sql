-- Assets whose name became known, or another one, since their rows were written: all of their rows, before the refresh writes others.
INSERT INTO marts_renamed (asset_id, quote_currency, symbol, name)
SELECT asset_id, quote_currency, symbol, name
FROM (
  SELECT s.asset_id, s.quote_currency, a.symbol, a.name
  FROM {{ asset_stats }} AS s
  INNER JOIN {{ crypto_asset_dim }} AS a ON s.asset_id = a.asset_id AND a.is_current
  WHERE s.symbol IS DISTINCT FROM a.symbol OR s.name IS DISTINCT FROM a.name
) AS n;

UPDATE {{ market_daily }} AS m
SET symbol = r.symbol, name = r.name
FROM marts_renamed AS r
WHERE m.date >= DATE '1970-01-01' AND m.asset_id = r.asset_id AND m.quote_currency = r.quote_currency;

UPDATE {{ asset_stats }} AS s
SET symbol = r.symbol, name = r.name
FROM marts_renamed AS r
WHERE s.asset_id = r.asset_id AND s.quote_currency = r.quote_currency;
