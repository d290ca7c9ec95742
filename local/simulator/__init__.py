"""A CoinGecko that runs on one machine: a seeded market behind the paths, the shapes, the quirks and the faults of the
real API.

Start it with ``python -m local.simulator --port 9080`` and read ``http://127.0.0.1:9080/api/v3/ping``.
"""
