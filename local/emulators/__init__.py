"""The emulators of BigQuery and Cloud Storage, corrected where they differ from Google in what Coinbeam uses."""
