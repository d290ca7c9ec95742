"""Backfills: years of daily history in pieces and batches, planned once, worked off in runs as the budget allows."""
