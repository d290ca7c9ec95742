"""The cloud on one machine: emulators of BigQuery and Cloud Storage and a simulated CoinGecko under one supervisor."""
