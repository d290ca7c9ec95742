"""The commands ``coinbeam release`` and ``coinbeam contracts apply``: what a deployment does, step by step."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.store import ReleaseStore

release = typer.Typer(no_args_is_help=True, help="Releases in the bucket of Cloud Composer.")

BucketOption = Annotated[
    str, typer.Option("--bucket", help="Bucket of the Composer environment, with or without gs://.")
]
IdOption = Annotated[str | None, typer.Option("--release", help="Id of the release. Default: that of this tree.")]
SeenOption = Annotated[
    Path | None,
    typer.Option(
        help="File in which `upload` notes which release was current, and by which `switch` finds another deployment."
    ),
]


@release.command()
def configure(
    release_id: Annotated[
        str, typer.Option("--release", help="Id: lower-case letters, digits and hyphens, e.g. a short commit.")
    ],
    project: Annotated[str, typer.Option(help="Google Cloud project.")],
    bucket: Annotated[str, typer.Option(help="Bucket of the landing and batch files, without gs://.")],
    environment: Annotated[str, typer.Option(help="Whose YAML file gives the other settings.")] = "production",
    region: Annotated[str | None, typer.Option(help="Region of Dataflow jobs.")] = None,
    location: Annotated[str | None, typer.Option(help="Location of the BigQuery datasets.")] = None,
    dataflow_service_account: Annotated[str | None, typer.Option(help="Service account of Dataflow workers.")] = None,
    subnetwork: Annotated[str | None, typer.Option(help="regions/R/subnetworks/S of Dataflow workers.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of Dataflow workers.")] = None,
    template_folder: Annotated[str | None, typer.Option(help="gs:// folder of the Flex Templates.")] = None,
    plan: Annotated[str | None, typer.Option(help="CoinGecko plan.")] = None,
    api_key_secret: Annotated[
        str | None, typer.Option(help="projects/P/secrets/S/versions/V of the CoinGecko key.")
    ] = None,
    airflow_url: Annotated[str | None, typer.Option(help="Address of the Airflow web server.")] = None,
    other: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, e.g. market.period=hourly; repeatable.")
    ] = None,
) -> None:
    """Write config/deployment.json, unless a deployment with it would fail. An empty value counts as not given."""
    from deploy.configuration import write_deployment

    values = {
        "release": release_id,
        "google.project": project,
        "google.region": region,
        "google.location": location,
        "google.dataflow_service_account": dataflow_service_account,
        "storage.bucket": bucket,
        "dataflow.subnetwork": subnetwork,
        "dataflow.image": image,
        "dataflow.template_folder": template_folder,
        "coingecko.plan": plan,
        "coingecko.api_key_secret": api_key_secret,
        "composer.airflow_url": airflow_url,
        **{name: value for name, _, value in (setting.partition("=") for setting in other or ())},
    }
    typer.echo(f"wrote {write_deployment({name: value or None for name, value in values.items()}, environment)}")


@release.command()
def submit(
    substitutions: Annotated[
        typer.FileText, typer.Option(help="File of `terraform output -json substitutions`; - reads it from a pipe.")
    ],
    project: Annotated[str | None, typer.Option(help="Google Cloud project. Default: that of gcloud.")] = None,
    other: Annotated[
        list[str] | None, typer.Option("--set", help="Another substitution, e.g. _SERVING=image; repeatable.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Even if a build of it was the last to succeed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the command.")] = False,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 15.0,
) -> None:
    """Build this checkout by Cloud Build, which makes it the current release. Refuses what is in no commit."""
    import time

    from coinbeam.settings import ROOT
    from deploy.submission import Submission, read
    from deploy.tools import Gcloud

    given = read(substitutions.read())
    changed = {name: value for name, _, value in (pair.partition("=") for pair in other or ())}
    submission = Submission(Gcloud(project), {**given, **changed}, ROOT)
    if dry_run:
        typer.echo(submission.shown)
    else:
        submission.build(typer.echo, time.sleep, poll_seconds, again=again)


@release.command()
def scan(
    images: Annotated[Path, typer.Option(help="Folder in which deploy/push_image.sh noted the images.")] = Path(
        "images"
    ),
) -> None:
    """Wait for the registry's scans of the pushed images; fails on a critical vulnerability that has a fix."""
    import time

    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    from coinbeam.clock import utc_now
    from coinbeam.errors import TerminalError
    from coinbeam.settings import ROOT
    from deploy.vulnerabilities import Scans, read_images, read_policy, stopping

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    scans = Scans(AuthorizedSession(credentials), time.sleep)  # type: ignore[no-untyped-call]
    found = [one for image in read_images(images) for one in scans.critical(image)]
    for one in found:
        typer.echo(one)
    if wrong := stopping(found, read_policy(ROOT / "deploy" / "vulnerabilities.yaml"), utc_now().date()):
        raise TerminalError(
            f"{len(wrong)} critical vulnerabilities have a fix: {', '.join(sorted({one.id for one in wrong}))}.",
            "Take the fix, or accept each by name in deploy/vulnerabilities.yaml.",
        )
    typer.echo(f"{len(found)} critical vulnerabilities, none of which stops the release")


@release.command()
def upload(bucket: BucketOption, seen: SeenOption = None) -> None:
    """Upload this tree beside the releases that are there, its manifest last. Changes nothing that Airflow uses."""
    from coinbeam.settings import load_settings
    from deploy.tree import collect

    store = _store(bucket)
    _, generation = store.pointer()
    manifest, content = collect(load_settings())
    written = store.upload(manifest, content)
    if seen:
        seen.write_text(f"{generation}\n", encoding="utf-8")
    typer.echo(f"release {manifest.release}: {written} of {len(manifest.files)} files uploaded, complete")


@release.command()
def check(
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket", help="Check the release as it lies in this bucket. Default: this tree as it would be uploaded."
        ),
    ] = None,
    release_id: IdOption = None,
    python: Annotated[Path, typer.Option(help="Interpreter of an environment with the packages of Composer.")] = Path(
        sys.executable
    ),
) -> None:
    """Import the DAGs of a release as Composer would, in a process of its own; fails on any import error."""
    from coinbeam.settings import load_settings
    from deploy.check import check_release
    from deploy.tree import collect

    if bucket:
        store = _store(bucket)
        manifest = store.manifest(release_id or load_settings().release)
        content = store.download(manifest)
    else:
        manifest, content = collect(load_settings())
    dags = check_release(manifest, content, python)
    typer.echo(f"release {manifest.release}: {len(manifest.files)} files, {len(dags)} DAGs: {', '.join(dags)}")


@release.command()
def switch(
    bucket: BucketOption,
    release_id: IdOption = None,
    back: Annotated[bool, typer.Option("--back", help="To the release before the current one.")] = False,
    seen: SeenOption = None,
) -> None:
    """Make a release current, by the overwrite of one object. Roll back with --back."""
    from coinbeam.errors import TerminalError
    from coinbeam.settings import load_settings

    if back and release_id:
        raise typer.BadParameter("Give --release or --back, not both.")
    store = _store(bucket)
    pointer, generation = store.pointer()
    wanted = pointer.previous if back else release_id or load_settings().release
    if wanted is None:
        raise TerminalError("There is no release before the current one.", "See `coinbeam release list`.")
    # Going back is decided by what was just read.
    known = generation if back else int(seen.read_text(encoding="utf-8")) if seen else None
    after = store.switch(wanted, known)
    typer.echo(f"current: {after.current}, previous: {after.previous or 'none'}")


@release.command("list")
def list_releases(bucket: BucketOption) -> None:
    """The releases in the bucket, newest first."""
    from console.output import show

    show(("release", "state", "uploaded", "files"), map(vars, _store(bucket).releases()))


@release.command()
def prune(
    bucket: BucketOption,
    keep: Annotated[int, typer.Option(help="How many stay besides the current and the previous one.", min=0)] = 5,
) -> None:
    """Delete the oldest releases, never the current or the previous one."""
    gone = _store(bucket).prune(keep)
    typer.echo(f"deleted: {', '.join(gone) or 'none'}")


def apply_contracts(dry_run: bool) -> None:
    """Bring the warehouse to its contracts by additive migrations, and say what was, or would be, changed."""
    from coinbeam.settings import load_settings
    from coinbeam.warehouse.client import Warehouse
    from coinbeam.warehouse.dry_run import pending_changes
    from coinbeam.warehouse.schema import ensure_schema

    settings = load_settings()
    changes = pending_changes(settings) if dry_run else ensure_schema(Warehouse(settings))
    for change in changes:
        typer.echo(f"would be {change}" if dry_run else change)
    typer.echo(f"{len(changes)} changes{' pending' if dry_run else ''}")


def _store(bucket: str) -> "ReleaseStore":
    from coinbeam.settings import load_settings
    from deploy.bucket import VersionedBucket
    from deploy.store import ReleaseStore

    return ReleaseStore(VersionedBucket(load_settings(), bucket))
