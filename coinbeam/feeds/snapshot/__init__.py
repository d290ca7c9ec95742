"""Snapshots: request, plan, steps and record."""
