"""A full disk is one sentence, however deep it lies in the error."""

import errno
from pathlib import Path

import pytest

from coinbeam.errors import TransientError, disk_full


def wrapped(inner: BaseException) -> BaseException:
    """The error as a library passes it on."""
    try:
        try:
            raise inner
        except BaseException as error:
            raise RuntimeError("The upload failed.") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError(errno.ENOSPC, "No space left on device", "/data/x.csv"), id="no space"),
        pytest.param(OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x.csv"), id="a quota"),
        pytest.param(OSError(errno.EFBIG, "File too large", "/data/x.csv"), id="a limit of the process"),
        pytest.param(wrapped(OSError(errno.ENOSPC, "No space left on device", "/data/x.csv")), id="wrapped"),
        pytest.param(
            RuntimeError("OSError: [Errno 28] No space left on device [while running 'Write']"), id="a worker's"
        ),
        pytest.param(RuntimeError("(sqlite3.OperationalError) database or disk is full"), id="of Airflow's database"),
    ],
)
def test_a_full_disk_is_one_sentence(error: BaseException) -> None:
    found = disk_full(error)
    assert isinstance(found, TransientError)
    assert str(found).startswith("The disk is full")
    assert "goes on where it stopped" in str(found)


def test_another_error_is_none() -> None:
    assert disk_full(wrapped(FileNotFoundError(errno.ENOENT, "No such file", "x"))) is None


def test_a_real_full_device_is_told_by_its_name() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left") as caught, Path("/dev/full").open("w") as file:
        file.write("x" * 100_000)
    assert str(disk_full(caught.value)).startswith("The disk is full")
