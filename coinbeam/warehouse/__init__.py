"""BigQuery: client, schema, staging, publish."""
