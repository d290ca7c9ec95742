"""The plan at the beginning, the walk after it, and what each step refuses; the cloud is one of objects in memory."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from coinbeam.errors import TerminalError
from deploy.faults import ToolError
from deploy.project.check import OK, UNKNOWN, WRONG, check, questions
from deploy.project.deployment import Deployment
from deploy.project.order import BOOTSTRAP_APIS, Order
from deploy.project.steps import (
    Dags,
    FirstRun,
    Found,
    Infrastructure,
    Key,
    Project,
    Release,
    State,
    StateBucket,
    StateProject,
)  # fmt: skip
from deploy.project.terraform import Plan
from deploy.project.walk import plan, walk


@dataclass
class Somebody:
    """A person who answers."""

    agrees: bool = True
    key: str = "CG-sentinelkey"
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.agrees

    def answer(self, question: str) -> str:
        return question

    def secret(self, _question: str) -> str:
        return self.key


@dataclass
class Cloud:
    """gcloud that answers from a table, by the words of a command, and remembers what it was told."""

    answers: dict[str, Any] = field(default_factory=dict)
    told: list[tuple[tuple[str, ...], str | None]] = field(default_factory=list)

    def ask(self, *words: str) -> Any:
        found = next((one for start, one in self.answers.items() if " ".join(words).startswith(start)), None)
        if isinstance(found, Exception):
            raise found
        return found

    find = ask

    def say(self, *words: str, text: str | None = None, **_: Any) -> str:
        self.told.append((words, text))
        return ""


@dataclass
class Counted:
    """A step that counts what is asked of it."""

    name: str
    is_done: bool = False
    looks: int = 0
    deeds: int = 0

    def look(self) -> Found:
        self.looks += 1
        return Found(State.DONE if self.is_done else State.TO_DO, "x")

    def do(self) -> None:
        self.deeds += 1
        self.is_done = True


def deployment(cloud: Cloud | None = None, person: Somebody | None = None, **order: Any) -> Any:
    """A deployment on that cloud."""
    made: Any = Deployment(Order("acme-project", **order), person or Somebody(), lambda _: None)
    made.gcloud = cloud or Cloud()
    return made


def test_the_plan_says_done_to_do_and_waits_and_asks_nothing_of_what_waits() -> None:
    every = [Counted("a", is_done=True), Counted("b"), Counted("c")]
    assert [(row.step, row.state, row.what) for row in plan(every)] == [
        ("a", "done", "x"),
        ("b", "to do", "x"),
        ("c", "waits", "for: b"),
    ]
    assert [step.looks for step in every] == [1, 1, 0]


def test_each_step_is_done_once_and_what_was_done_is_not() -> None:
    every = [Counted("a", is_done=True), Counted("b"), Counted("c")]
    entered: list[str] = []
    assert walk(every, plan(every), Somebody(), entered.append)
    assert [step.deeds for step in every] == [0, 1, 1]
    assert entered == ["a", "b", "c"]
    assert {row.state for row in plan(every)} == {"done"}


def test_a_no_stops_before_the_step() -> None:
    every = [Counted("a"), Counted("b")]
    assert not walk(every, plan(every), Somebody(agrees=False), lambda _: None)
    assert [step.deeds for step in every] == [0, 0]


def test_a_project_that_nobody_pays_for_is_refused_with_the_command() -> None:
    cloud = Cloud({"projects": {"lifecycleState": "ACTIVE"}, "billing": {"billingEnabled": False}})
    with pytest.raises(TerminalError, match="gcloud billing projects link acme-project"):
        Project(deployment(cloud)).look()


def test_a_project_that_is_being_deleted_is_refused() -> None:
    with pytest.raises(TerminalError, match=r"DELETE_REQUESTED.*undelete"):
        Project(deployment(Cloud({"projects": {"lifecycleState": "DELETE_REQUESTED"}}))).look()


def bucket(project: str = "7", **protection: bool) -> dict[str, Any]:
    """A bucket of the state in a project of that number, as Cloud Storage tells it."""
    access = {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"}
    return {"projectNumber": project, "iamConfiguration": access, "versioning": {"enabled": True}} | protection


UNVERSIONED = {**bucket(), "versioning": {"enabled": False}}


@pytest.mark.parametrize(
    ("found", "state", "made"),
    [
        pytest.param(None, State.TO_DO, ["create", "update"], id="none"),
        pytest.param(UNVERSIONED, State.TO_DO, ["update"], id="made, then killed"),
        pytest.param(bucket(), State.DONE, None, id="protected"),
    ],
)
def test_the_bucket_of_the_state_is_made_or_protected(
    found: Any, state: State, made: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = Cloud({"storage buckets describe": found})
    monkeypatch.setattr(Deployment, "state_gcloud", cloud)
    step = StateBucket(deployment(cloud))
    assert step.look().state is state
    if made:
        step.do()
        assert [words[2] for words, _ in cloud.told] == made
        assert "--versioning" in cloud.told[-1][0]


DENIED = ToolError("", "", "does not have permission to access projects instance [x] (or it may not exist)")


@pytest.mark.parametrize(
    ("answers", "text", "told"),
    [
        pytest.param(
            {
                "projects describe acme-project-state": DENIED,
                "billing projects describe acme-project-state": {"billingEnabled": False},
            },
            "make acme-project-state, billed to 0A",
            ["projects create acme-project-state", "billing projects link acme-project-state", "services enable"],
            id="not there",
        ),
        pytest.param(
            {"billing projects describe acme-project-state": {"billingEnabled": False}},
            "acme-project-state: bill it to 0A and enable storage",
            ["billing projects link acme-project-state", "services enable"],
            id="made, then killed",
        ),
        pytest.param(
            {}, "acme-project-state: enable storage.googleapis.com", ["services enable"], id="billed, then killed"
        ),
        pytest.param({"services list": [{"config": {"name": "storage.googleapis.com"}}]}, "", [], id="ready"),
        pytest.param({"storage buckets describe": bucket()}, "", [], id="its bucket is there"),
    ],
)
def test_the_project_of_the_state_is_made_as_far_as_it_is_not(
    answers: dict[str, Any], text: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {"projectNumber": "1", "lifecycleState": "ACTIVE", "parent": {"type": "folder", "id": "9"}}
    paid = {"billingEnabled": True, "billingAccountName": "billingAccounts/0A"}
    cloud = Cloud({**answers, "projects describe": there, "billing projects describe": paid})
    monkeypatch.setattr(Deployment, "state_gcloud", cloud)
    monkeypatch.setattr("deploy.project.steps.Gcloud", lambda _: cloud)
    step = StateProject(deployment(cloud))
    found = step.look()
    assert (found.state is State.DONE) == (not told)
    if told:
        assert text in found.text
        step.do()
        said = [" ".join(words) for words, _ in cloud.told]
        assert [one for one, start in zip(said, told, strict=True) if not one.startswith(start)] == []
        assert "projects create" not in said[0] or "--folder=9" in said[0], "beside the project"


def test_a_state_in_the_project_of_composer_is_refused_and_one_of_the_small_profile_is_not() -> None:
    cloud = Cloud({"storage buckets describe": bucket("1"), "projects describe": {"projectNumber": "1"}})
    with pytest.raises(TerminalError, match=r"lies in acme-project itself.*Move it"):
        StateProject(deployment(cloud)).look()
    assert StateProject(deployment(cloud, profile="small")).look().state is State.DONE


def test_a_plan_that_destroys_is_never_applied() -> None:
    step = Infrastructure(deployment())
    step._plan = Plan({}, {}, {"storage_bucket": 1})
    with pytest.raises(TerminalError, match=r"destroy 1 \(1 storage_bucket\).*by hand"):
        step.do()


def test_the_key_goes_through_the_pipe_alone() -> None:
    cloud = Cloud({"secrets": []})
    step = Key(deployment(cloud))
    assert step.look().state is State.TO_DO
    step.do()
    [(words, text)] = cloud.told
    assert text == "CG-sentinelkey"
    assert "sentinelkey" not in " ".join(words)


@pytest.mark.parametrize("typed", ["", "  \n", "CG-two words", "CG-\u00e9"], ids=["nothing", "blanks", "two", "accent"])
def test_what_is_no_key_is_refused_and_not_shown(typed: str) -> None:
    cloud = Cloud()
    with pytest.raises(TerminalError) as caught:
        Key(deployment(cloud, Somebody(key=typed))).do()
    assert cloud.told == []
    assert not typed.strip() or typed not in str(caught.value)


def test_a_plan_without_a_key_asks_for_none() -> None:
    assert Key(deployment(plan="keyless")).look().state is State.DONE


def test_a_version_that_is_there_is_enough() -> None:
    assert Key(deployment(Cloud({"secrets": [{"name": "v/1"}]}))).look().state is State.DONE


def released(monkeypatch: pytest.MonkeyPatch, builds: list[dict[str, Any]], **answers: Any) -> tuple[Any, Cloud]:
    """A deployment of the commit abc1234 after an apply."""
    monkeypatch.setattr("deploy.submission.commit_of", lambda _: "abc1234")
    cloud = Cloud({"builds list": builds, "storage objects describe": None, **answers})
    made = deployment(cloud)
    told = {"_REGION": "us-central1", "_DATA_BUCKET": "b", "_PROFILE": "composer"}
    made.outputs = {"substitutions": told, "composer_bucket": "c"}
    return made, cloud


OURS = {"_REGION": "us-central1", "_DATA_BUCKET": "b", "_RELEASE": "abc1234"}


def test_a_build_of_this_commit_that_runs_is_waited_for_and_not_submitted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = [{"id": "old", "status": "WORKING", "substitutions": OURS}]
    made, cloud = released(monkeypatch, going, **{"builds describe old": {"status": "SUCCESS"}})
    step = Release(made)
    assert "wait for build old" in step.look().text
    monkeypatch.setattr(Deployment, "current_release", lambda _: "abc1234")
    step.do()
    assert cloud.told == [], "nothing was submitted"


def test_a_build_that_has_succeeded_without_a_release_is_told_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    made, cloud = released(monkeypatch, [{"id": "old", "status": "SUCCESS", "substitutions": OURS}])
    with pytest.raises(TerminalError, match="Build old has succeeded, and no release is current"):
        Release(made).do()
    assert cloud.told == []


@pytest.mark.parametrize(
    ("image", "release"),
    [("r/batch:abc1234", "abc1234"), ("us-docker.pkg.dev/cloudrun/container/job:latest", None)],
    ids=["ours", "Google's sample"],
)
def test_the_release_of_the_small_profile_is_the_image_of_its_job(image: str, release: str | None) -> None:
    spec = {"containers": [{"image": image}]}
    job = {"spec": {"template": {"spec": {"template": {"spec": spec}}}}}
    made = deployment(Cloud({"run jobs describe coinbeam-daily": job}), profile="small")
    made.outputs = {"image_repository": "r"}
    assert made.current_release() == release


def execution(state: str) -> dict[str, Any]:
    """An execution of the job."""
    return {
        "metadata": {"name": "coinbeam-daily-x"},
        "status": {"conditions": [{"type": "Completed", "status": state}]},
    }


@pytest.mark.parametrize("going", [True, False], ids=["one goes on", "none goes on"])
def test_an_execution_that_goes_on_is_waited_for(going: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deployment, "last_published", lambda _: "batch")
    cloud = Cloud(
        {
            "run jobs executions list": [execution("Unknown" if going else "False")],
            "run jobs executions describe": execution("True"),
            "run jobs execute": execution("Unknown"),
        }
    )
    asked: list[str] = []
    monkeypatch.setattr(cloud, "ask", lambda *words: asked.append(words[2]) or Cloud.ask(cloud, *words))
    FirstRun(deployment(cloud, profile="small")).do()
    assert ("execute" in asked) == (not going)


def test_an_execution_that_failed_is_told() -> None:
    failed = {"run jobs executions list": [execution("Unknown")], "run jobs executions describe": execution("False")}
    with pytest.raises(TerminalError, match="coinbeam-daily-x, failed"):
        FirstRun(deployment(Cloud(failed), profile="small")).do()


def test_dags_are_waited_for_then_switched_on_but_for_the_optional_ones() -> None:
    class Airflow:
        looks = 0
        on: list[str]

        def __init__(self) -> None:
            self.on = []

        def paused(self) -> dict[str, bool]:
            self.looks += 1
            known = ("crypto_etl_dag", "fear_greed_dag", "price_witness_dag", "crypto_stream_dag")
            return {} if self.looks < 3 else {name: name not in self.on for name in known}

        def unpause(self, name: str) -> None:
            self.on.append(name)

    made, airflow = deployment(), Airflow()
    made.composer = airflow
    step = Dags(made)
    assert step.look().state is State.TO_DO
    step.do()
    assert airflow.on == ["crypto_etl_dag", "fear_greed_dag"]
    assert step.look().state is State.DONE


def test_every_check_answers_though_one_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud({"services": ToolError("Your account lacks it.", "Be owner.", "")})
    made = deployment(cloud, plan="keyless")
    made.outputs = {"composer_bucket": "c", "image_repository": "r"}
    made.terraform.differs = lambda: "change 1 (1 storage_bucket)"

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise TerminalError("not there", "mend it")

    monkeypatch.setattr("deploy.project.check.Pins.missing", lambda _: ["Dockerfile: python:3.11"])
    made.composer = made.settings = made.warehouse = Broken()
    rows = {row.check: row for row in check(made)}
    assert list(rows) == [name for name, _ in questions(made)]
    assert (rows["bootstrap APIs"].state, rows["bootstrap APIs"].remedy) == (UNKNOWN, "Be owner.")
    assert {rows[name].state for name in ("infrastructure", "state bucket", "pins")} == {WRONG}
    assert rows["API key"].state == OK
    assert rows["DAGs"].state == UNKNOWN
    assert all(row.remedy for row in rows.values() if row.state != OK)


def test_an_api_that_is_off_is_told_with_the_command() -> None:
    made = deployment(Cloud({"services": [{"config": {"name": name}} for name in BOOTSTRAP_APIS[:2]]}))
    made.outputs = {"composer_bucket": "c", "image_repository": "r"}
    made.terraform.differs = lambda: None
    [row] = [row for row in check(made) if row.check == "bootstrap APIs"]
    assert row.remedy == f"gcloud services enable {BOOTSTRAP_APIS[2]}"
