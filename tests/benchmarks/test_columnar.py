"""The benchmark compares like with like: the contenders agree, and a contender that does other work is found out."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.columnar import Measurement, Outcome, disagreements, judge, main
from benchmarks.pages import landed_at, snapshots

OUTCOME = Outcome(10, 77, (1.0, 2.0, 3.0, 4.0), {"null_value": 1})


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All contenders over three pages, the slowest over two, as JSON."""
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda text: printed.append(text))
        assert (
            main(["--pages", "3", "--row-pages", "2", "--folder", str(tmp_path_factory.mktemp("bench")), "--json"]) == 0
        )
    found: dict[str, Any] = json.loads(printed[0])
    return found


@pytest.mark.xdist_group("benchmark")
@pytest.mark.timeout(120)
def test_all_contenders_do_the_same_work(report: dict[str, Any]) -> None:
    assert report["disagreements"] == []
    assert [(run["name"], run["rows"]) for run in report["contenders"]] == [
        ("plain", 750),
        ("beam", 750),
        ("strict", 750),
        ("tolerant", 750),
        ("rows", 500),
    ]
    assert all(run["cpu_seconds"] > 0.1 and run["peak_mib"] > 30 for run in report["contenders"])


@pytest.mark.xdist_group("benchmark")
def test_unequal_numbers_of_rows_are_compared_less_start_up(report: dict[str, Any]) -> None:
    assert [run["pages"] for run in report["startup"]] == [1, 1]
    assert "less start-up" in report["targets"][-1]["text"]


@pytest.mark.parametrize(
    ("change", "agrees"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"sums": (1.0 + 1e-12, 2.0, 3.0, 4.0)}, True, id="sums added in another order"),
        pytest.param({"sums": (1.001, 2.0, 3.0, 4.0)}, False, id="another sum"),
        pytest.param({"rows_valid": 9}, False, id="a row less"),
        pytest.param({"fingerprint": 78}, False, id="another price"),
        pytest.param({"rejects": {"wrong_type": 1}}, False, id="another reason"),
    ],
)
def test_other_work_is_found_out(change: dict[str, Any], agrees: bool) -> None:
    other = dataclasses.replace(OUTCOME, **change)
    assert (disagreements({"plain": (3, OUTCOME, "x"), "strict": (3, other, "y")}) == []) is agrees


def test_beam_must_write_the_bytes_of_the_plain_loop() -> None:
    [fault] = disagreements({"plain": (3, OUTCOME, "x"), "beam": (3, OUTCOME, "y")})
    assert "different bytes" in fault


@pytest.mark.parametrize(
    ("beam", "met"), [(11.0, [True, True, True, True, True]), (13.0, [True, False, False, False, False])]
)
def test_targets_are_those_of_the_issue(beam: float, met: list[bool]) -> None:
    seconds = {"plain": 10.0, "beam": beam, "strict": 11.5, "tolerant": 28.0, "rows": 80.0}
    measured = {name: Measurement(name, 4, 1_000, cpu, cpu, 299.0) for name, cpu in seconds.items()}
    assert [target.met for target in judge(measured, {})] == met


def test_pages_are_made_once_and_are_always_the_same(tmp_path: Path) -> None:
    [first] = snapshots(tmp_path / "one", 2)
    [second] = snapshots(tmp_path / "two", 2)
    for one, two in zip(first.files, second.files, strict=True):
        assert Path(one).read_bytes() == Path(two).read_bytes()
        assert Path(one).stat().st_mtime == landed_at(0).timestamp()
    Path(first.files[0]).write_bytes(b"kept")
    assert Path(snapshots(tmp_path / "one", 2)[0].files[0]).read_bytes() == b"kept"
