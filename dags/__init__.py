"""Airflow DAGs: one file each. They give order, retries and alerts; ``coinbeam`` and the Beam jobs do the work."""
