-- The attributions are those that the terms of CoinGecko's API and of alternative.me ask for.
MERGE {{ target }} AS t
USING (
  SELECT
    'coingecko' AS source_id, 'CoinGecko' AS name, 'live' AS kind, 'https://www.coingecko.com' AS url,
    'Data provided by CoinGecko' AS attribution, 'CoinGecko API v3, as landed' AS description
  UNION ALL
  SELECT
    'coingecko_simulator', 'CoinGecko simulator', 'simulated', NULL,
    'Simulated data, not market prices', 'A deterministic market of our own making; only in local warehouses'
  UNION ALL
  SELECT
    'coingecko_export', 'CoinGecko CSV export', 'file', 'https://www.coingecko.com',
    'Data provided by CoinGecko', 'CSV exports of the CoinGecko website, brought by a user'
  UNION ALL
  SELECT
    'alternative_me', 'Alternative.me Crypto Fear & Greed Index', 'live', 'https://alternative.me/crypto/fear-and-greed-index/',
    'Crypto Fear & Greed Index by alternative.me', 'The API of the index, as landed'
  UNION ALL
  SELECT
    'alternative_me_simulator', 'Fear & Greed simulator', 'simulated', NULL,
    'Simulated data, not the real index', 'A deterministic index of our own making; only in local warehouses'
  UNION ALL
  SELECT 'file', 'Files brought by a user', 'file', NULL, NULL, 'API bodies that were not landed by this system'
) AS s
ON {{ same_key }}
WHEN MATCHED THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
