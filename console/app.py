"""The commands and their options; the work is elsewhere."""

from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from coinbeam import __version__
from coinbeam.batch.options import parts
from coinbeam.clock import parse_instant
from coinbeam.settings import LARGEST_TOP, MOST_CALLS_PER_DAY
from console.job import job
from console.output import Format
from console.release import release


class Commands(TyperGroup):
    """The commands; Ctrl-C in any of them ends it with a sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from console.output import complain

            complain("Stopped by Ctrl-C. What was landed and published stays; the same command goes on from there.")
            raise typer.Exit(INTERRUPTED) from None


INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells give it: 128 and the number of the signal."""

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
local = typer.Typer(no_args_is_help=True, help="The cloud on this machine.")
app.add_typer(local, name="local")
dags = typer.Typer(no_args_is_help=True, help="The DAGs in Composer.")
app.add_typer(dags, name="dags")
contracts = typer.Typer(no_args_is_help=True, help="The table contracts under sql/.")
app.add_typer(contracts, name="contracts")
rejects = typer.Typer(help="The records that were refused.")
app.add_typer(rejects, name="rejects")
quality = typer.Typer(help="The record of the quality rules.")
app.add_typer(quality, name="quality")
app.add_typer(release, name="release")
app.add_typer(job, name="job")
keys = typer.Typer(no_args_is_help=True, help="The keys of the API.")
app.add_typer(keys, name="keys")
lakehouse = typer.Typer(no_args_is_help=True, help="Facts and marts as open tables (Apache Iceberg), a tag per batch.")
app.add_typer(lakehouse, name="lakehouse")
stream = typer.Typer(no_args_is_help=True, help="Live trades.")
app.add_typer(stream, name="stream")
export = typer.Typer(help="Copies of the warehouse for other databases.", no_args_is_help=True)
app.add_typer(export, name="export")

FormatOption = Annotated[Format, typer.Option("--format", help="How rows are shown.")]
SourceOption = Annotated[
    str | None,
    typer.Option(help="live, simulator, auto, or a glob of API bodies to replay. Default: the setting market.source."),
]
InstantOption = Annotated[
    str | None, typer.Option(help="ISO 8601 instant or date of the snapshot. Default: the present interval.")
]
UniverseOption = Annotated[
    Literal["all", "top", "ids", "category"] | None,
    typer.Option(help="Which assets. Default: as --ids, --top-n or --category say, else market.universe."),
]
IdsOption = Annotated[str | None, typer.Option(help="CoinGecko ids, separated by commas.")]
TopOption = Annotated[int | None, typer.Option(help="How many assets by market cap.", min=1, max=LARGEST_TOP)]
CategoryOption = Annotated[str | None, typer.Option(help="CoinGecko category id.")]
RefetchOption = Annotated[
    bool,
    typer.Option("--refetch", help="Put what was landed aside and ask the source again, after it answered wrongly."),
]
CurrencyOption = Annotated[str | None, typer.Option(help="Currency of all prices.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day, included. Default: the newest closed day.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Coinbeam: a crypto market warehouse."""


def _form(**fields: object) -> dict[str, object]:
    """The fields of the trigger form that were given; the settings decide the others."""
    return {name: value for name, value in fields.items() if value is not None}


def _selection(universe: str | None, ids: str | None, top_n: int | None, category: str | None) -> dict[str, object]:
    """The fields that select assets: an option that only one universe has chooses it, and none is ignored.

    Raises:
        SettingsError: two options contradict each other.
    """
    from coinbeam.errors import SettingsError

    options = (("ids", "--ids", ids), ("top", "--top-n", top_n), ("category", "--category", category))
    chosen = {kind: name for kind, name, value in options if value is not None}
    if len(chosen) > 1:
        raise SettingsError(f"{' and '.join(chosen.values())} choose different assets.", "Give one of them.")
    for kind, name in chosen.items():
        if universe not in {None, kind}:
            raise SettingsError(f"{name} has no meaning with --universe {universe}.", f"Give {name} alone.")
        universe = kind
    return _form(universe=universe, ids=ids, top_n=top_n, category=category)


@app.command()
def run(
    mode: Annotated[
        Literal["local", "cloud", "all"],
        typer.Option(
            help="local: Airflow and emulators on this machine. cloud: trigger Composer. all: one after the other."
        ),
    ] = "local",
    source: SourceOption = None,
    snapshot_at: InstantOption = None,
    universe: UniverseOption = None,
    ids: IdsOption = None,
    top_n: TopOption = None,
    category: CategoryOption = None,
    quote_currency: CurrencyOption = None,
    refetch: RefetchOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
) -> None:
    """Run the DAG for one snapshot, to its end, and show what is in the warehouse."""
    from console.dags import Source
    from console.run import RunCommand

    form = _selection(universe, ids, top_n, category) | _form(quote_currency=quote_currency, refetch=refetch)
    raise typer.Exit(RunCommand(Source(source), snapshot_at, form, dry_run).execute(mode))


@app.command()
def replay(
    instant: Annotated[
        str, typer.Argument(help="Date or ISO 8601 instant of a past snapshot whose pages were landed.")
    ],
    universe: UniverseOption = None,
    ids: IdsOption = None,
    top_n: TopOption = None,
    category: CategoryOption = None,
    quote_currency: CurrencyOption = None,
) -> None:
    """Publish a past snapshot again from its landed pages; no call is made."""
    from console.dags import Source
    from console.run import RunCommand

    form = _selection(universe, ids, top_n, category) | _form(quote_currency=quote_currency)
    raise typer.Exit(RunCommand(Source(None), instant, form, dry_run=False, replays=True).execute("local"))


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
    from console.dags import Source
    from console.run import RunCommand

    form = _selection(universe, ids, top_n, category) | _form(quote_currency=quote_currency)
    RunCommand(Source(source), snapshot_at, form, True).plan()


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="BigQuery SQL.")],
    form: FormatOption = Format.TABLE,
    write: Annotated[bool, typer.Option("--write", help="Let the statement change the warehouse.")] = False,
) -> None:
    """Query the configured warehouse; only reads, unless --write is given."""
    from console.read import run_query

    run_query(sql, form, may_write=write)


@app.command()
def status(form: FormatOption = Format.TABLE) -> None:
    """Freshness of the tables, the last batches, open rejects and the API quota."""
    from console.read import show_status

    show_status(form)


BatchOption = Annotated[str | None, typer.Option(help="Only this batch.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only this reason.")]


@rejects.callback(invoke_without_command=True)
def list_rejects(
    context: typer.Context,
    batch: BatchOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 50,
    form: FormatOption = Format.TABLE,
) -> None:
    """The records that were refused, with the reason, the value and where the bytes lie; `replay` after a fix."""
    if context.invoked_subcommand:
        if batch or reason:
            raise typer.BadParameter(f"Options of {context.invoked_subcommand} are written after it.")
        return
    from console.rejects import show_rejects

    show_rejects(batch, reason, limit, form)


@rejects.command("replay")
def replay_rejects(batch: BatchOption = None, reason: ReasonOption = None) -> None:
    """After a fix: publish each batch with open rejects again, from its landed pages and without a call."""
    from console.rejects import replay_command

    raise typer.Exit(replay_command(batch, reason))


TableOption = Annotated[str | None, typer.Option(help="Only this table.")]


@quality.callback(invoke_without_command=True)
def show_quality(
    context: typer.Context,
    table: TableOption = None,
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only results of this batch.")] = None,
    status: Annotated[
        Literal["passed", "failed", "warning", "error"] | None, typer.Option(help="Only rules that ended so at last.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many rules.", min=1)] = 100,
    form: FormatOption = Format.TABLE,
) -> None:
    """The history of each rule: how it ended at last, its values, how often it failed, and the keys that broke it."""
    if context.invoked_subcommand:
        if table or rule or batch or status:
            raise typer.BadParameter(f"Options of {context.invoked_subcommand} are written after it.")
        return
    from coinbeam.quality import Status
    from coinbeam.quality.record import Selection
    from console.quality import show_history

    show_history(Selection(table, rule, batch, Status(status) if status else None, limit), form)


@quality.command("check")
def check_quality(table: TableOption = None, form: FormatOption = Format.TABLE) -> None:
    """Run the rules of the published tables now, on their newest dates, and record them; 1 when one does not hold."""
    from console.quality import check_now

    raise typer.Exit(check_now(table, form))


@quality.command("witness")
def witness_quality(form: FormatOption = Format.TABLE) -> None:
    """Compare the newest prices with those of CoinPaprika, and record the result; 1 when they could not be compared."""
    from console.quality import check_witness

    raise typer.Exit(check_witness(form))


@app.command()
def backfill(
    assets: Annotated[
        str | None, typer.Option(help="CoinGecko ids, separated by commas. Default: the top N of the newest snapshot.")
    ] = None,
    top_n: TopOption = None,
    from_date: Annotated[
        str | None, typer.Option("--from", help="First day. Default: as far back as one call of the plan reaches.")
    ] = None,
    to_date: ToOption = None,
    quote_currency: CurrencyOption = None,
    calls_per_day: Annotated[
        int | None, typer.Option(help="Most calls that backfills spend on one UTC day.", min=1, max=MOST_CALLS_PER_DAY)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="live, simulator, auto, or a glob of CSV exports or landed bodies, which cost no call."),
    ] = None,
    asset_of: Annotated[
        str | None, typer.Option(help="file=asset pairs of CSV exports, e.g. btc-usd-max.csv=bitcoin.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of stamps in files that name none: UTC, or e.g. Europe/Berlin.")
    ] = None,
    only_gaps: Annotated[bool, typer.Option("--only-gaps", help="Only days that have no row.")] = False,
    refetch: RefetchOption = False,
    mode: Annotated[
        Literal["local", "cloud"], typer.Option(help="local: on this machine. cloud: trigger Composer.")
    ] = "local",
    dry_run: Annotated[bool, typer.Option(help="Show the plan and stop; --no-dry-run goes on.")] = True,
) -> None:
    """Bring years of daily history: shows the plan, and with --no-dry-run works it off, resumable at any moment."""
    from console.dags import Source
    from console.history import run_backfill

    form = _form(assets=assets, top_n=top_n, from_date=from_date, to_date=to_date, quote_currency=quote_currency)
    form |= _form(calls_per_day=calls_per_day, asset_of=asset_of, time_zone=time_zone)
    form |= _form(only_gaps=only_gaps, refetch=refetch, dry_run=dry_run)
    raise typer.Exit(run_backfill(form, Source(source), mode))


@app.command()
def gaps(
    assets: Annotated[
        str | None, typer.Option(help="CoinGecko ids, separated by commas. Default: all with any history.")
    ] = None,
    from_date: Annotated[
        str | None, typer.Option("--from", help="First day. Default: as far back as the backfill would ask.")
    ] = None,
    to_date: ToOption = None,
    quote_currency: CurrencyOption = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="Start the backfill of just the gaps; shows its plan first.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="With --fill: show the plan and stop; --no-dry-run goes on.")] = True,
    form: FormatOption = Format.TABLE,
) -> None:
    """Coverage of the daily history by asset and day: what is there, what the source lacks, what nobody asked for."""
    from console.dags import Source
    from console.history import covered_assets, run_backfill, show_gaps

    ids = parts(assets)
    if not (fill or dry_run):
        raise typer.BadParameter("--no-dry-run has no meaning without --fill.")
    if not fill:
        first, last = (parse_instant(text).date() if text else None for text in (from_date, to_date))
        show_gaps(ids, quote_currency, first, last, form)
        return
    chosen = ",".join(ids or covered_assets(quote_currency))
    fields = _form(assets=chosen, from_date=from_date, to_date=to_date, quote_currency=quote_currency)
    raise typer.Exit(run_backfill(fields | {"only_gaps": True, "dry_run": dry_run}, Source(None), "local"))


@app.command("fear-greed")
def fear_greed(
    source: Annotated[
        str | None, typer.Option(help="live, simulator, auto, or a glob of landed bodies or CSV files (date,fng).")
    ] = None,
    refetch: RefetchOption = False,
) -> None:
    """Bring the Fear & Greed index up to date and refresh the marts."""
    from console.dags import Source
    from console.history import run_fear_greed

    raise typer.Exit(run_fear_greed(Source(source), refetch=refetch))


@app.command("looker-link")
def looker_link(
    table: Annotated[
        list[str] | None, typer.Option(help="A mart; repeatable. Default: the five that a report is built on.")
    ] = None,
    report_id: Annotated[
        str | None, typer.Option(help="A report to copy, whose data sources have the marts' names as aliases.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="Google Cloud project of the marts. Default: that of the settings.")
    ] = None,
    billing_project: Annotated[
        str | None, typer.Option(help="Project that pays for the queries. Default: that of the marts.")
    ] = None,
) -> None:
    """Print the link that opens a new Looker Studio report on the marts."""
    from console.looker import show_link

    show_link(table or (), report_id, project, billing_project)


@app.command("looker-fields")
def looker_fields(
    write: Annotated[
        bool, typer.Option("--write", help="Write them into docs/looker_studio.md instead of printing them.")
    ] = False,
) -> None:
    """Print the fields of the marts as Looker Studio shows them: type, kind, aggregation, unit, meaning."""
    from console.looker import show_fields

    show_fields(write)


def _local(*arguments: str) -> None:
    """Hand over to the supervisor of the local cloud, which is a program of its own."""
    import subprocess

    from coinbeam.settings import ROOT
    from runs.airflow import command

    raise typer.Exit(subprocess.run(command("local", *arguments), cwd=ROOT, check=False).returncode)


@local.command("up")
def local_up() -> None:
    """Start the services, the bucket and the datasets."""
    _local("up")


@local.command("down")
def local_down() -> None:
    """Stop the services; the data stay."""
    _local("down")


@local.command("status")
def local_status() -> None:
    """Show which services answer, and why one died."""
    _local("status")


@local.command("reset")
def local_reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Stop the services and delete their data."""
    _local("reset", *(["--yes"] if yes else []))


@local.command("live")
def local_live() -> None:
    """Move from simulated to real prices: put the warehouse aside, keep what was really landed, start anew."""
    _local("live")


@app.command()
def ui() -> None:
    """Airflow's web interface on the local cloud, in the foreground; Ctrl-C stops it."""
    from console.run import open_ui

    raise typer.Exit(open_ui())


HostOption = Annotated[str | None, typer.Option(help="Address to listen at. Default: this machine alone.")]
PortOption = Annotated[
    int | None, typer.Option(help="Default: the setting serving.api_port or serving.dashboard_port.", min=1, max=65_535)
]


@app.command()
def bundle(
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Take nothing of older versions.")] = False,
) -> None:
    """Bring what the API and the dashboard read in step with the marts; the DAG of the marts does it too."""
    from console.serving import build_bundle

    build_bundle(rebuild=rebuild)


@app.command()
def serve(host: HostOption = None, port: PortOption = None) -> None:
    """The API: CoinGecko's own clients read our warehouse. Ctrl-C stops it."""
    from console.serving import serve_api

    serve_api(host, port)


@app.command()
def dashboard(host: HostOption = None, port: PortOption = None) -> None:
    """The market and the trust in it, in a browser. Ctrl-C stops it."""
    from console.serving import open_dashboard

    open_dashboard(host, port)


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    calls_per_minute: Annotated[
        int | None, typer.Option(help="Its limit. Default: the setting serving.calls_per_minute.", min=1)
    ] = None,
) -> None:
    """Make a key of the API. It is shown once."""
    from console.serving import create_key

    create_key(name, calls_per_minute)


@keys.command("list")
def keys_list(form: FormatOption = Format.TABLE) -> None:
    """Show the keys that were made."""
    from console.serving import list_keys

    list_keys(form)


@keys.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(help="As `coinbeam keys list` names it.")]) -> None:
    """Revoke a key."""
    from console.serving import revoke_key

    revoke_key(key_id)


@lakehouse.command("export")
def lakehouse_export() -> None:
    """Bring the open tables in step with BigQuery, and tag them with the batches that were published since."""
    from console.lakehouse import export

    export()


@lakehouse.command("check")
def lakehouse_check() -> None:
    """Compare every row of every open table with BigQuery; 1 when one differs."""
    from console.lakehouse import check

    raise typer.Exit(check())


@lakehouse.command("list")
def lakehouse_list(table: TableOption = None, form: FormatOption = Format.TABLE) -> None:
    """The open tables, their snapshots and the tags of batches."""
    from console.lakehouse import list_tables

    list_tables(table, form)


@lakehouse.command("diff")
def lakehouse_diff(
    before: Annotated[str, typer.Argument(help="Batch whose tag is the former state.")],
    after: Annotated[str, typer.Argument(help="Batch whose tag is the later state.")],
    table: TableOption = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """What changed between two batches: rows added, removed, changed, by table and column, with a sample."""
    from console.lakehouse import show_differences

    show_differences(before, after, table, form)


@lakehouse.command("maintain")
def lakehouse_maintain() -> None:
    """Expire old snapshots without a tag, join small files, delete files that no snapshot names."""
    from console.lakehouse import maintain_tables

    maintain_tables()


@export.command("postgres")
def export_postgres(
    dsn: Annotated[
        str | None, typer.Option(help="Connection string without a password. Default: the setting postgres.dsn.")
    ] = None,
    schema: Annotated[str | None, typer.Option(help="Schema of the tables. Default: postgres.namespace.")] = None,
    since: Annotated[
        str | None, typer.Option(help="First day to export anew. Default: what was published since the last export.")
    ] = None,
) -> None:
    """Bring the core, with enforced keys, into PostgreSQL: batches, assets, snapshots, metrics, daily prices."""
    from console.postgres import export_core

    export_core(dsn, schema, parse_instant(since).date() if since else None)


ProjectOption = Annotated[str, typer.Option("--project", help="Id of the Google Cloud project.")]
RegionOption = Annotated[str, typer.Option(help="Region of everything that runs.")]
LocationOption = Annotated[str, typer.Option(help="Location of datasets and buckets.")]
StateProjectOption = Annotated[
    str | None,
    typer.Option(help="Project of Terraform's state. Default: PROJECT-state, and PROJECT itself in the small profile."),
]
ProfileOption = Annotated[
    Literal["composer", "small"], typer.Option(help="composer, or small: one job of Cloud Run a day instead.")
]
PlanOption = Annotated[str, typer.Option(help="Plan of CoinGecko: keyless, demo, basic, analyst.")]


@app.command()
def deploy(
    project: ProjectOption,
    region: RegionOption = "us-central1",
    location: LocationOption = "US",
    profile: ProfileOption = "composer",
    plan: PlanOption = "analyst",
    state_project: StateProjectOption = None,
    alert_email: Annotated[str | None, typer.Option(help="Address of the alerts. Default: asked for.")] = None,
    github: Annotated[
        str | None, typer.Option(help="owner/name of the repository that deploys. Default: a person does.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Answer every question with yes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show where each step stands, and stop.")] = False,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two looks at what takes long.", min=0.1)] = 15.0,
) -> None:
    """From an empty project to the first published batch: shows each step, asks, does it; goes on where it stopped."""
    from console.project import deploy as run_steps
    from deploy.project.order import Order

    order = Order(project, region, location, profile, plan, alert_email or None, github or None, state_project or None)
    raise typer.Exit(run_steps(order, agrees=yes, dry_run=dry_run, poll_seconds=poll_seconds))


@app.command("deploy-check")
def deploy_check(
    project: ProjectOption,
    region: RegionOption = "us-central1",
    location: LocationOption = "US",
    profile: ProfileOption = "composer",
    plan: PlanOption = "analyst",
    state_project: StateProjectOption = None,
) -> None:
    """Compare a project with what it should be, read only: a row per check; 1 when one differs."""
    from console.project import deploy_check as run_checks
    from deploy.project.order import Order

    raise typer.Exit(run_checks(Order(project, region, location, profile, plan, state_project=state_project or None)))


@dags.command("list")
def dags_list() -> None:
    """Show each DAG, and whether it is paused."""
    from console.dags import list_dags

    list_dags()


@dags.command("unpause")
def dags_unpause(
    dag_ids: Annotated[
        list[str] | None, typer.Argument(help="DAG ids. Default: all but crypto_stream_dag and price_witness_dag.")
    ] = None,
) -> None:
    """Switch DAGs on: new ones are paused, and a run of a paused one stays queued."""
    from console.dags import unpause_dags

    unpause_dags(dag_ids or [])


@contracts.command()
def check() -> None:
    """Check that every contract is valid, complete, and what its version promised."""
    from coinbeam.batch.tables import SNAPSHOT_FACT
    from coinbeam.contracts import load_all
    from coinbeam.contracts.versions import check_versions
    from coinbeam.errors import ContractError
    from coinbeam.sources.coingecko import parameter_not_sent

    for column in load_all()[SNAPSHOT_FACT].columns:
        if column.source and (parameter := parameter_not_sent(column.source)):
            raise ContractError(
                f"Column {column.name} stores {column.source}, which CoinGecko only sends with {parameter}.",
                "Add the parameter to CoinGeckoClient.markets_page, or leave the column out.",
            )
    check_versions()
    for contract in load_all().values():
        typer.echo(
            f"{contract.dataset}.{contract.name} {contract.version}: {len(contract.columns)} columns, key "
            f"{', '.join(contract.primary_key)}"
        )


@contracts.command()
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be changed, and change nothing.")] = False,
) -> None:
    """Create what the warehouse lacks and add new nullable columns; any other change is refused with the reason."""
    from console.release import apply_contracts

    apply_contracts(dry_run)


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
    write: Annotated[
        bool, typer.Option("--write", help="Write docs/data_dictionary.md instead of printing it.")
    ] = False,
) -> None:
    """Print the data dictionary."""
    from coinbeam.contracts.dictionary import DICTIONARY, render

    if write:
        DICTIONARY.write_text(render(), encoding="utf-8")
    typer.echo(f"wrote {DICTIONARY}" if write else render(), nl=write)


@contracts.command()
def lock() -> None:
    """Add the new versions of contracts to sql/versions.json; a change within a version is refused."""
    from coinbeam.contracts import load_all
    from coinbeam.contracts.versions import VERSIONS, extended, locked, text

    VERSIONS.write_text(text(extended(locked(), load_all())), encoding="utf-8")
    typer.echo(f"wrote {VERSIONS}")


SymbolsOption = Annotated[
    str | None,
    typer.Option(
        help="Pairs, separated by commas: BTCUSDT,ETHUSDT; of polled prices assets: bitcoin:usd,ethereum:usd. "
        "Default: stream.symbols or stream.prices."
    ),
]
VenueOption = Annotated[
    Literal["live", "simulator", "auto", "coingecko"] | None,
    typer.Option(
        help="Where trades come from; coingecko: no trades, but polled prices, from where market.source says. "
        "Default: the setting stream.source."
    ),
]


@stream.command("up")
def stream_up(symbols: SymbolsOption = None, source: VenueOption = None) -> None:
    """Start a stream on this machine: trades or prices through Pub/Sub and Beam into trade_window_fact."""
    from console.stream import start

    start(symbols, source)


@stream.command("status")
def stream_status(form: FormatOption = Format.TABLE) -> None:
    """Show each symbol of the stream: its newest window and how late it is, trades, late panes and gaps."""
    from console.stream import show_status

    show_status(form)


@stream.command("down")
def stream_down() -> None:
    """Stop the stream without loss; the next start goes on where it ended."""
    from console.stream import end

    end()


@stream.command("settle")
def stream_settle(
    date: Annotated[str | None, typer.Option(help="UTC day, ISO 8601. Default: yesterday.")] = None,
) -> None:
    """Compute the windows of a day again from the landed trades, in batch, compare, and refresh the marts."""
    from console.stream import settle

    raise typer.Exit(settle(parse_instant(date).date() if date else None))


@stream.command("publish")
def stream_publish(
    symbols: SymbolsOption = None,
    source: VenueOption = None,
) -> None:
    """Publish trades, or polled prices, to Pub/Sub. Ctrl-C stops it; the next start fetches the trades it missed."""
    from console.stream import publish

    publish(symbols, source)
