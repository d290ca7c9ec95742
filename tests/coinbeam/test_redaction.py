"""No output of a process shows a secret that it knows, however it is written."""

import base64
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given

from coinbeam import redaction
from coinbeam.redaction import MASK, keep_secret, redact
from coinbeam.settings import ROOT

KEY = "CG-sentinelSENTINEL1234567890"


@pytest.fixture(autouse=True)
def keep_log_factory() -> Iterator[None]:
    """Take the guard off again."""
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


def test_a_guarded_key_is_masked_in_message_arguments_and_traceback(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret(KEY)
    keep_secret(KEY)
    log = logging.getLogger("somebody.elses.library")
    log.warning("sending %s", KEY)
    log.warning("headers: %r", {"x-cg-demo-api-key": KEY})
    try:
        raise ValueError(f"bad header {KEY}")
    except ValueError:
        log.exception("failed")
    assert "sending ***" in caplog.text
    assert "ValueError: bad header ***" in caplog.text
    assert KEY not in caplog.text
    assert all(KEY not in repr(vars(record)) for record in caplog.records)


def test_other_records_pass_the_guard_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    keep_secret(KEY)
    log = logging.getLogger("somebody")
    log.warning("%d of %d", 1, 2)
    try:
        raise ValueError("plain")
    except ValueError:
        log.exception("failed")
    assert caplog.records[0].args == (1, 2)
    assert caplog.records[1].exc_info is not None


def test_a_record_whose_format_does_not_fit_is_masked_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    keep_secret(KEY)
    record = logging.getLogRecordFactory()("n", logging.INFO, "p", 1, "%d calls", (KEY,), None)
    assert KEY not in repr(vars(record))
    assert not caplog.records


def test_redaction_knows_several_keys_and_no_key() -> None:
    assert redact("a CG-1 b CG-2", "CG-1", None, "", "CG-2") == "a *** b ***"


PLANTED = """
import logging, os, sys, threading, warnings
import coinbeam
key = os.environ['COINGECKO_API_KEY']
print(key)
print('header', {'x-cg-demo-api-key': key}, file=sys.stderr)
logging.basicConfig(level=logging.INFO)
logging.info('sending %s', key)
warnings.warn(key)
sys.stdout.write(key[:11])
sys.stdout.flush()
sys.stdout.write(key[11:] + chr(10))
for letter in key:
    print(letter, end='', flush=True)
print()
sys.stdout.buffer.write(b'bytes ' + key.encode())
sys.stderr.buffer.write(key[:7].encode())
sys.stderr.buffer.write(key[7:].encode())
print(key[:5], end='')
sys.stdout.buffer.write(key[5:].encode())
threading.Thread(target=lambda: int(key)).start()
print('the end', 'CG-', key[:-1], sep=' ', end='')
raise ValueError(key)
"""


def child(code: str, key: str = KEY) -> "subprocess.CompletedProcess[bytes]":
    """A process of ours with the key in its environment."""
    variables = os.environ | {"COINGECKO_API_KEY": key, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, timeout=60, check=False)


def test_a_process_shows_nothing_of_its_key_whatever_it_does_with_it() -> None:
    ended = child(PLANTED)
    output = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert KEY[3:12].encode() not in output
    assert output.count(MASK.encode()) >= 11
    assert b"bytes ***" in ended.stdout
    assert b"the end CG- ***" in ended.stdout
    assert b"ValueError: ***" in ended.stderr
    assert b"ValueError: invalid literal" in ended.stderr, "the error of the thread"


def test_the_same_process_without_the_guard_shows_it() -> None:
    assert KEY.encode() in child(PLANTED.replace("import coinbeam", "")).stdout


def test_the_text_of_a_traceback_has_no_key() -> None:
    code = """
import traceback, coinbeam, os, base64
try:
    raise ValueError(os.environ['COINGECKO_API_KEY'])
except ValueError:
    print(base64.b64encode(traceback.format_exc().encode()).decode())
"""
    shown = base64.b64decode(child(code).stdout).decode()
    assert "ValueError: ***" in shown
    assert KEY not in shown


def test_other_output_passes_the_guard_byte_for_byte() -> None:
    code = "import sys, coinbeam; print('plain \u00e9 CG-'); sys.stdout.buffer.write(bytes(range(256)))"
    assert child(code).stdout == "plain \u00e9 CG-\n".encode() + bytes(range(256))


@given(st.lists(st.sampled_from([KEY, KEY[:9], KEY[9:], "CG-", "x", "\n"]), max_size=8), st.integers(1, 40))
def test_a_secret_is_masked_however_it_is_cut(parts: list[str], width: int) -> None:
    text = "".join(parts)
    below = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_SECRETS", [KEY])
        stream = redaction._guarded(below)
        for start in range(0, len(text), width):
            stream.write(text[start : start + width])
            stream.flush()
        stream.close()
    shown = below.buffer.getvalue().decode()  # type: ignore[attr-defined]
    whole = text.replace(KEY, MASK)
    cut = next((n for n in range(len(KEY) - 1, 5, -1) if whole.endswith(KEY[:n])), 0)
    assert shown == (whole[: len(whole) - cut] + MASK if cut else whole)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("COINBEAM_ALERTS__WEBHOOK_URL", f"https://hooks.example.com/{KEY}"),
        ("COINBEAM_POSTGRES__DSN", f"postgresql://reader:{KEY}@db.example.com/market"),
        ("COINBEAM_POSTGRES__DSN", f"host=db.example.com user=reader password={KEY} dbname=market"),
        ("COINBEAM_LINEAGE__TRANSPORT", f'{{"type": "http", "auth": {{"type": "api_key", "apiKey": "{KEY}"}}}}'),
        ("AIRFLOW__OPENLINEAGE__TRANSPORT", f'{{"auth": {{"api_key":"{KEY}"}}}}'),
    ],
)
def test_a_credential_among_other_things_is_masked_in_all_that_a_process_says(name: str, text: str) -> None:
    program = f"import coinbeam, os; print(os.environ['{name}']); raise ValueError('the server refuses {KEY}')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), name: text},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if name.endswith("URL"):
        assert done.stdout.strip() == MASK
    else:
        assert KEY not in done.stdout + done.stderr
        assert f"the server refuses {MASK}" in done.stderr
