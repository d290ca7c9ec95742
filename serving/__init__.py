"""Readers of what was published: an API, a dashboard, open tables. None of them writes to the warehouse."""
