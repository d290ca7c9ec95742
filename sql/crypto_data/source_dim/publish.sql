-- The attribution is the one that CoinGecko's API terms ask for.
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
  SELECT 'file', 'Files brought by a user', 'file', NULL, NULL, 'API bodies that were not landed by this system'
) AS s
ON {{ same_key }}
WHEN MATCHED THEN UPDATE SET {{ assignments }}
WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES ({{ values }});
