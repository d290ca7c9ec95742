"""The body of ``/coins/{id}`` as the columns that the asset dimension keeps of it."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from beam_pipelines.assets.bodies import detail_object
from beam_pipelines.assets.canonical import WrongTypeError, list_json, text_or_none
from beam_pipelines.batch_files.rejects import Refused
from coinbeam.landing.layout import LandedBody

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_details(landed: LandedBody) -> dict[str, Any] | Refused:
    """The details in a body by column, or why it has none; never raises for what is in it.

    The id in the body may differ from the one asked for, after a rename.
    """
    body = detail_object(landed.body)
    if body is None:
        return Refused("not_details", None, None)
    values: dict[str, Any] = {}
    for column, read in _READERS.items():
        try:
            values[column] = read(body)
        except WrongTypeError:
            return Refused("wrong_type", column, body.get(_SOURCES.get(column, column)))
    if not values["asset_id"]:
        return Refused("null_value", "asset_id", body.get("id"))
    return {**values, "details_at": landed.landed_at}


def _genesis_date(body: Mapping[str, Any]) -> date | None:
    text = text_or_none(body.get("genesis_date"))
    if text is None:
        return None
    try:
        if _ISO_DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # 2009-02-31
    raise WrongTypeError(f"{text!r} is no date")


def _homepage(body: Mapping[str, Any]) -> str | None:
    links = body.get("links")
    if links is None:
        return None
    pages = links.get("homepage") if isinstance(links, Mapping) else links
    if pages is None:
        return None
    if not isinstance(pages, list):
        raise WrongTypeError("links.homepage is no array")
    return next((text for page in pages if (text := text_or_none(page))), None)


_SOURCES = {"asset_id": "id", "homepage": "links"}
_READERS = {
    "asset_id": lambda body: text_or_none(body["id"]),
    "categories": lambda body: list_json(body.get("categories")),
    "asset_platform_id": lambda body: text_or_none(body.get("asset_platform_id")),
    "hashing_algorithm": lambda body: text_or_none(body.get("hashing_algorithm")),
    "country_origin": lambda body: text_or_none(body.get("country_origin")),
    "genesis_date": _genesis_date,
    "homepage": _homepage,
}
DETAILED = (*_READERS, "details_at")
"""The columns of the dimension that details fill."""
