"""Coinbeam's core: settings, contracts, sources, quota, plans, quality and the warehouse. No Airflow, no Beam."""

__version__ = "0.1.0"
