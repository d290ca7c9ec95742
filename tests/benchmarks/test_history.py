"""The benchmark of history compares like with like: the same bytes, and bodies that are always the same."""

import json
from pathlib import Path

import pytest

from benchmarks.charts import landed_bodies
from benchmarks.columnar import Measurement
from benchmarks.history import judge, main


@pytest.mark.slow
@pytest.mark.xdist_group("benchmark")
@pytest.mark.timeout(120)
def test_beam_writes_the_bytes_of_the_plain_loop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--assets", "2", "--days", "900", "--repeat", "1", "--folder", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["same"] is True
    assert [(run["name"], run["pages"], run["rows"]) for run in report["contenders"]] == [
        ("plain", 6, 1_800),
        ("beam", 6, 1_800),
    ]
    assert report["startup_share"] > 0


@pytest.mark.parametrize(("beam", "met"), [(12.9, True), (13.2, False)])
def test_the_target_is_that_of_the_issue(beam: float, met: bool) -> None:
    seconds = {"plain": 10.0, "beam": beam}
    assert judge({name: Measurement(name, 1, 1, cpu, cpu, 1.0) for name, cpu in seconds.items()}).met is met


def test_bodies_are_made_once_and_are_always_the_same(tmp_path: Path) -> None:
    first, second = landed_bodies(tmp_path / "one", 1, 400), landed_bodies(tmp_path / "two", 1, 400)
    assert [Path(str(body.uri)).read_bytes() for body in first] == [Path(str(body.uri)).read_bytes() for body in second]
    Path(str(first[0].uri)).write_bytes(b"kept")
    assert Path(str(landed_bodies(tmp_path / "one", 1, 400)[0].uri)).read_bytes() == b"kept"
