"""Lineage of our tasks: what each read and wrote, in the names that OpenLineage gives to things.

Source of the naming: https://openlineage.io/docs/spec/naming. A BigQuery table is ``bigquery`` and
``project.dataset.table``. An object of Cloud Storage is ``gs://bucket`` and its path; files that are read by a pattern
are their folder, as Google's provider has it. An endpoint is its server and its path.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from coinbeam.batch.jobs import JOBS
from coinbeam.batch.options import parts
from coinbeam.settings import Settings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import Dataset

LANDING = "landing"
_LANDED = re.compile(rf"(?:.*/)?{LANDING}/[^/]+")
_ASKED = {"live", "simulator", "auto"}


def job_lineage(job: str, options: Mapping[str, Any], files: Iterable[str], settings: Settings) -> Any:
    """Inputs and outputs of a Beam job: it asks endpoints, whose answers it lands, or reads files; it writes the files
    of the batch, given as the patterns that the tasks after it load, as paths in the bucket.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    source, output = str(options.get("source") or ""), str(options["output"])
    uris = [f"{settings.bucket_uri}/{file}" for file in sorted(files)] or [f"{output}/"]
    written = [object_dataset(uri) for uri in uris]
    if source not in _ASKED:
        return OperatorLineage(inputs=[object_dataset(uri) for uri in parts(source)], outputs=written)
    endpoints, landing = JOBS[job].endpoints, str(options.get("landing") or output)
    asked = [endpoint_dataset(endpoint, source, settings) for endpoint in endpoints]
    landed = [object_dataset(f"{landing}/{LANDING}/{folder}/") for folder in endpoints.values()]
    return OperatorLineage(inputs=asked, outputs=[*landed, *written])


def endpoint_dataset(endpoint: str, source: str, settings: Settings) -> "Dataset":
    """The path of the API that a job asks; a source ``auto`` by its name, since only the job knows whom it asked."""
    if source == "auto":
        return _dataset(source, endpoint)
    base = settings.simulator_url if source == "simulator" else str(settings.coingecko.limits.base_url)
    url = f"{base.rstrip('/')}/{endpoint}"
    if endpoint == "fng" and source != "simulator":
        url = str(settings.history.fear_greed_url)
    parts = urlsplit(url)
    return _dataset(f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"))


def object_dataset(uri: str) -> "Dataset":
    """A file, or the folder of a pattern, in Cloud Storage or on a disk.

    What lies in landing has the name of its endpoint, so that a replay of a batch continues from what landed it.
    """
    from airflow.providers.google.cloud.openlineage.utils import extract_ds_name_from_gcs_path

    parts = urlsplit(uri)
    name = extract_ds_name_from_gcs_path(parts.path.lstrip("/"))
    if landed := _LANDED.match(name):
        name = landed[0]
    return _dataset(f"{parts.scheme}://{parts.netloc}", name) if parts.netloc else _dataset("file", f"/{name}")


def script_lineage(script: str, project: str) -> tuple[list["Dataset"], list["Dataset"]]:
    """The tables that a script reads and writes, by OpenLineage's own parser of SQL.

    Args:
        script: statements of GoogleSQL.
        project: of tables that are named without one.

    Returns:
        Inputs and outputs, each sorted by name; empty when the parser understands nothing.
    """
    from airflow.providers.openlineage.sqlparser import SQLParser

    found = SQLParser(dialect="bigquery").parse([script])
    if found is None:
        return [], []
    return _tables(found.in_tables, project), _tables(found.out_tables, project)


def _tables(tables: Iterable[Any], project: str) -> list["Dataset"]:
    """Tables in a dataset; one that is named alone is temporary and ends with the script."""
    lasting = {table.qualified_name for table in tables if "." in table.qualified_name}
    names = sorted(name if name.count(".") > 1 else f"{project}.{name}" for name in lasting)
    return [_dataset("bigquery", name) for name in names]


def _dataset(namespace: str, name: str) -> "Dataset":
    from openlineage.client.event_v2 import Dataset

    return Dataset(namespace=namespace, name=name)
