"""The commands and their options; the work is elsewhere."""

import sys
from typing import Annotated, Literal

import typer

from coinbeam import __version__
from coinbeam.cli.output import Format

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Coinbeam: a crypto market warehouse.")
contracts = typer.Typer(no_args_is_help=True, help="The table contracts under sql/.")
app.add_typer(contracts, name="contracts")

FormatOption = Annotated[Format, typer.Option("--format", help="How rows are shown.")]
SourceOption = Annotated[
    str | None, typer.Option(help="live, simulator, auto, or a glob of API bodies to replay. Default: the setting market.source.")
]
InstantOption = Annotated[str | None, typer.Option(help="ISO 8601 instant or date of the snapshot. Default: the present interval.")]
UniverseOption = Annotated[
    Literal["all", "top", "ids", "category"] | None, typer.Option(help="Which assets. Default: the setting market.universe.")
]
IdsOption = Annotated[str | None, typer.Option(help="CoinGecko ids, separated by commas.")]
TopOption = Annotated[int | None, typer.Option(help="How many assets by market cap.", min=1)]
CategoryOption = Annotated[str | None, typer.Option(help="CoinGecko category id.")]
CurrencyOption = Annotated[str | None, typer.Option(help="Currency of all prices.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Coinbeam: a crypto market warehouse."""


def _form(**fields: object) -> dict[str, object]:
    """The fields of the trigger form that were given; the settings decide the others."""
    return {name: value for name, value in fields.items() if value is not None}


@app.command()
def run(
    mode: Annotated[
        Literal["local", "cloud", "all"],
        typer.Option(help="local: Airflow and emulators on this machine. cloud: trigger Composer. all: one after the other."),
    ] = "local",
    source: SourceOption = None,
    snapshot_at: InstantOption = None,
    universe: UniverseOption = None,
    ids: IdsOption = None,
    top_n: TopOption = None,
    category: CategoryOption = None,
    quote_currency: CurrencyOption = None,
    runner: Annotated[Literal["local", "dataflow"] | None, typer.Option(help="The Beam runner.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
) -> None:
    """Run the DAG for one snapshot, to its end, and show what is in the warehouse."""
    from coinbeam.cli.run import RunCommand

    form = _form(universe=universe, ids=ids, top_n=top_n, category=category, quote_currency=quote_currency, runner=runner)
    raise typer.Exit(RunCommand(source, snapshot_at, form, dry_run).execute(mode))


@app.command()
def replay(
    instant: Annotated[str, typer.Argument(help="Date or ISO 8601 instant of a past snapshot whose pages were landed.")],
    universe: UniverseOption = None,
    ids: IdsOption = None,
    top_n: TopOption = None,
    category: CategoryOption = None,
    quote_currency: CurrencyOption = None,
) -> None:
    """Publish a past snapshot again from its landed pages; no call is made."""
    from coinbeam.cli.run import RunCommand

    form = _form(universe=universe, ids=ids, top_n=top_n, category=category, quote_currency=quote_currency)
    raise typer.Exit(RunCommand(None, instant, form, False).execute("local"))


@app.command()
def plan(
    source: SourceOption = None,
    snapshot_at: InstantOption = None,
    universe: UniverseOption = None,
    ids: IdsOption = None,
    top_n: TopOption = None,
    category: CategoryOption = None,
    quote_currency: CurrencyOption = None,
) -> None:
    """Say what a run would cost: calls, credits left, minutes, rows, bytes, dollars. Changes nothing."""
    from coinbeam.cli.run import RunCommand

    form = _form(universe=universe, ids=ids, top_n=top_n, category=category, quote_currency=quote_currency)
    RunCommand(source, snapshot_at, form, True).plan()


@app.command()
def query(sql: Annotated[str, typer.Argument(help="BigQuery SQL.")], form: FormatOption = Format.TABLE) -> None:
    """Query the configured warehouse."""
    from coinbeam.cli.read import run_query

    run_query(sql, form)


@app.command()
def status(form: FormatOption = Format.TABLE) -> None:
    """Freshness of the tables, the last batches, open rejects and the API quota."""
    from coinbeam.cli.read import show_status

    show_status(form)


@app.command()
def rejects(
    batch: Annotated[str | None, typer.Option(help="Only this batch.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    form: FormatOption = Format.TABLE,
) -> None:
    """The records that were refused, with the reason, the value and where the bytes lie."""
    from coinbeam.cli.read import show_rejects

    show_rejects(batch, reason, limit, form)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    help="The cloud on this machine: up, down, status, reset.",
)
def local(context: typer.Context) -> None:
    """Hand over to the supervisor of the local cloud, which is a program of its own."""
    import subprocess

    from coinbeam.orchestrator import command
    from coinbeam.settings import ROOT

    raise typer.Exit(subprocess.run(command("local", *context.args), cwd=ROOT, check=False).returncode)


@app.command()
def ui() -> None:
    """Airflow's web interface on the local cloud, in the foreground; Ctrl-C stops it."""
    from coinbeam.cli.run import open_ui

    raise typer.Exit(open_ui())


@contracts.command()
def check() -> None:
    """Check that every contract is valid and complete."""
    from coinbeam.contracts import load_all

    for contract in load_all().values():
        typer.echo(
            f"{contract.dataset}.{contract.name} {contract.version}: {len(contract.columns)} columns, key {', '.join(contract.primary_key)}"
        )


@contracts.command()
def ddl(table: Annotated[str | None, typer.Argument(help="One table. Default: all.")] = None) -> None:
    """Print the CREATE TABLE statements for BigQuery."""
    from coinbeam.contracts import load_all
    from coinbeam.contracts.bigquery import ddl as statement

    known = load_all()
    if table and table not in known:
        raise typer.BadParameter(f"There is no table {table!r}. Known: {', '.join(known)}.")
    chosen = [known[table]] if table else list(known.values())
    typer.echo("\n\n".join(statement(contract, contract.dataset) for contract in chosen))


@contracts.command()
def dictionary(
    write: Annotated[bool, typer.Option("--write", help="Write docs/data_dictionary.md instead of printing it.")] = False,
) -> None:
    """Print the data dictionary."""
    from coinbeam.contracts.dictionary import DICTIONARY, render

    if write:
        DICTIONARY.write_text(render(), encoding="utf-8")
        typer.echo(f"wrote {DICTIONARY}")
    else:
        sys.stdout.write(render())
