-- Where the newest snapshots are of assets of which the plan knows no day any more: a rerun or a retraction took the last one that it knew.
SELECT MIN(last_seen) AS first_seen
FROM (
  SELECT MAX(snapshot_date) AS last_seen
  FROM {{ crypto_market_snapshot_fact }}
  WHERE snapshot_date BETWEEN {{ first_date }} AND {{ last_date }} AND asset_id IN UNNEST(@assets)
  GROUP BY asset_id, quote_currency
) AS s
