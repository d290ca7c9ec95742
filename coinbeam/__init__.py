"""Coinbeam's core: settings, contracts, the CoinGecko client, quota, plan, quality and the warehouse. No Airflow, no
Beam.
"""

__version__ = "0.1.0"
