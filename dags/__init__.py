"""Airflow DAGs: one file each. They give order, retries and alerts; the work is in ``coinbeam`` and in the Beam
jobs.
"""
