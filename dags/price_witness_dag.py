"""The witness, once a day: our newest prices against those of CoinPaprika."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowSkipException

from coinbeam.settings import load_settings
from dags.batch_tasks import at, dag_arguments, this_run
from dags.operations import resolve_incidents

DOC = """
### What this does
Asks **CoinPaprika** for its prices, lands the answer, and compares the largest assets with our newest snapshot. A
deviation beyond `witness.tolerance` is a **warning** in `crypto_ops.quality_result` (rule `price_witness`); nothing is
published. It is skipped while `witness.enabled` is false.

### It failed. What now?
- **compare_prices**: the log names the cause and the remedy. No price depends on this DAG.
"""

settings = load_settings()


@task(doc_md="Compares the largest assets with the witness.", on_success_callback=resolve_incidents)
def compare_prices() -> str:
    """One comparison, recorded."""
    from coinbeam.landing.bucket import Bucket
    from coinbeam.quality.witness import Witness
    from coinbeam.warehouse.client import Warehouse

    current = load_settings()
    if not current.witness.enabled:
        raise AirflowSkipException("The witness is off: witness.enabled is false.")
    result = Witness(Warehouse(current), Bucket(current)).check(this_run())
    print(f"{result.status}: {result.message} {', '.join(result.sample)}")
    return result.status.value


with DAG(
    dag_id="price_witness_dag",
    description="Our prices against those of a second source; a deviation is a warning.",
    schedule=at("45 0 * * *"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    dagrun_timeout=timedelta(hours=1),
    doc_md=DOC,
    **dag_arguments("quality", {}),
) as dag:
    compare_prices()
