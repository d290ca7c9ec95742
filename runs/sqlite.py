"""How connections to Airflow's local database wait, as its options ``[database] sql_alchemy_connect_args`` name it."""

SYNC = {"timeout": 60.0}
"""By default a writer waits 5 s for another one, and a busy laptop would lose a click in the web interface."""

ASYNC = dict(SYNC)
