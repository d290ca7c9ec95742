"""Coinbeam's core: settings, contracts, sources, quota, plans, quality and the warehouse. No Airflow, no Beam."""

__version__ = "0.1.0"

import os

from coinbeam.redaction import keep_secrets_of

keep_secrets_of(os.environ)  # job, worker, task and command: each of them comes by here before it says anything
