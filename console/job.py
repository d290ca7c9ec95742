"""The commands ``coinbeam job``: what a deployment without Composer runs in its one container, each to its end."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from coinbeam.settings import Settings
    from runs.execution import Execution

job = typer.Typer(
    no_args_is_help=True,
    help="Runs of a deployment without Composer: the DAGs, each to its end, in the container of this command.",
)


@job.command()
def due() -> None:
    """Run what is due and not published yet: the snapshot, the Fear & Greed index, the witness, then the marts."""
    raise typer.Exit(_execution(_deployed()).run_due())


@job.command()
def run(
    dag_id: Annotated[str, typer.Argument(help="The DAG, e.g. crypto_backfill_dag.")],
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of its form, e.g. assets=bitcoin or dry_run=false; repeatable."),
    ] = None,
) -> None:
    """Run one DAG with its form, as a person would trigger it in Airflow, then the marts."""
    from coinbeam.clock import format_instant, utc_now
    from runs.airflow import DagRun
    from runs.forms import form_of

    settings = _deployed()
    form = form_of(dag_id, _given(fields or ()), settings)
    raise typer.Exit(_execution(settings).run(DagRun(format_instant(utc_now()), form, {}, dag_id)))


@job.command()
def replay(
    uri: Annotated[
        str, typer.Argument(help="An object below landing/ of a batch, or a file below inbox/, as gs://bucket/name.")
    ],
) -> None:
    """Read a landed batch again, or a file from the inbox, then refresh the marts; no call is made."""
    from runs.replay import run_of_object

    settings = _deployed()
    asked = run_of_object(uri, settings)
    raise typer.Exit(_execution(settings).run(asked))


@job.command()
def prepare() -> None:
    """Make Airflow's database, once for an image."""
    from coinbeam.settings import load_settings
    from runs.airflow import environment, migrate_database

    settings = load_settings()
    migrate_database(settings, environment(settings))


def _given(fields: list[str] | tuple[()]) -> dict[str, str]:
    """Fields by name, as texts.

    Raises:
        SettingsError: one is no ``name=value``.
    """
    from coinbeam.errors import SettingsError

    values: dict[str, str] = {}
    for one in fields:
        name, is_pair, value = one.partition("=")
        if not is_pair:
            raise SettingsError(f"--set {one} is no name=value.", "Write it like --set dry_run=false.")
        values[name] = value
    return values


def _deployed() -> "Settings":
    """The settings, of a deployment.

    Raises:
        SettingsError: they are those of one machine.
    """
    from coinbeam.errors import SettingsError
    from coinbeam.settings import Runner, load_settings

    settings = load_settings()
    if settings.is_local:
        raise SettingsError("`coinbeam job` is for a deployment.", "On one machine use `coinbeam run`.")
    if settings.runner is not Runner.LOCAL:
        raise SettingsError(
            f"runner is {settings.runner}, but this container holds the jobs itself.", "Set COINBEAM_RUNNER=local."
        )
    return settings


def _execution(settings: "Settings") -> "Execution":
    from runs.execution import Attempt, Execution

    return Execution(settings, Attempt.present(), lambda line: print(line, flush=True))
