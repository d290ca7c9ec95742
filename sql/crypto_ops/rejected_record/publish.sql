-- The rejects of a batch are those of its latest run: what a rerun no longer refuses is no longer open.
DELETE FROM {{ target }} WHERE snapshot_date = {{ snapshot_date }} AND batch_id = {{ batch_id }};

INSERT INTO {{ target }} ({{ columns }})
SELECT {{ columns }} FROM {{ staging }};
