-- How many assets have another name, by now, than their rows say.
SELECT COUNT(*) AS renamed
FROM {{ asset_stats }} AS s
INNER JOIN {{ crypto_asset_dim }} AS a ON s.asset_id = a.asset_id AND a.is_current
WHERE s.symbol IS DISTINCT FROM a.symbol OR s.name IS DISTINCT FROM a.name
