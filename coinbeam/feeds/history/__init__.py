"""Backfills: years of daily history in pieces, gathered in batches, planned once and worked off in as many runs as the
budget takes.
"""
