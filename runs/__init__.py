"""Airflow without a scheduler: its environment, its database, and runs of DAGs to their end."""
