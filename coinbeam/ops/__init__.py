"""The ledger of calls, incidents, alerts and the status."""
