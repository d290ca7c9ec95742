"""The landed bodies of a snapshot: the pages of the market, and the exchange rates in a folder beside theirs."""

from dataclasses import replace

from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.files import list_files
from coinbeam.batch.jobs import EXCHANGE_RATES
from coinbeam.landing.layout import beside, endpoint_of, newest_revisions
from coinbeam.sources.registry import FILES


def with_rates(landed: LandedBatch[str]) -> LandedBatch[str]:
    """A landed batch with the rates that lie beside its pages; files that somebody brought have none."""
    place = "" if landed.batch.source_id == FILES.id else beside(landed.bodies[0], EXCHANGE_RATES)
    found = newest_revisions(list_files(f"{place}/*.json.gz")) if place else []
    return replace(landed, bodies=landed.bodies + tuple(uri for uri in found if uri not in landed.bodies))


@no_annotations  # Beam knows no class of a part of a batch
def pages_of(landed: LandedBatch[str]) -> LandedBatch[str]:
    """A batch without its rates."""
    return replace(landed, bodies=tuple(uri for uri in landed.bodies if not _holds_rates(landed, uri)))


@no_annotations
def rates_of(landed: LandedBatch[str]) -> LandedBatch[str]:
    """A batch without its pages."""
    return replace(landed, bodies=tuple(uri for uri in landed.bodies if _holds_rates(landed, uri)))


def _holds_rates(landed: LandedBatch[str], uri: str) -> bool:
    return landed.batch.source_id != FILES.id and endpoint_of(uri) == EXCHANGE_RATES
