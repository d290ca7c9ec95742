"""The commands that help to build a report in Looker Studio."""

from collections.abc import Sequence

import typer

from coinbeam.settings import load_settings
from console.looker_studio import GUIDE, fields, report_link, with_fields
from console.output import say


def show_link(tables: Sequence[str], report_id: str | None, project: str | None, billing_project: str | None) -> None:
    """Print the link, alone on the output, so that it can be piped.

    Raises:
        SettingsError: no project is known, a name is malformed, or a table is no mart.
    """
    typer.echo(report_link(load_settings(), tables, report_id, project, billing_project).url)


def show_fields(write: bool) -> None:
    """Print the fields of the marts, or bring those of the guide up to the contracts."""
    if not write:
        typer.echo(fields())
        return
    GUIDE.write_text(with_fields(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
    say(f"wrote {GUIDE}")
