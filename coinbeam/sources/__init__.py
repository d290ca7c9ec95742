"""Whom we ask: one source, one module, one row of the registry."""
