"""A taken port is named together with its holder and the setting that moves the service."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coinbeam.settings import Settings
from local import ports
from local.ports import PortTakenError
from tests.temporary import temporary_settings


@contextmanager
def _held(port: int) -> Iterator[None]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        yield


def test_free_ports_pass(tmp_path: Path) -> None:
    ports.check_free(temporary_settings(tmp_path))


@pytest.mark.parametrize("name", ["bigquery", "bigquery_grpc", "storage", "simulator"])
def test_a_taken_port_is_named_with_its_holder_and_the_setting(tmp_path: Path, name: str) -> None:
    settings: Settings = temporary_settings(tmp_path)
    port = getattr(settings.local.ports, name)
    with _held(port), pytest.raises(PortTakenError) as raised:
        ports.check_free(settings)
    assert f"Port {port} " in str(raised.value)
    assert f"process {os.getpid()}" in str(raised.value)
    assert f"COINBEAM_LOCAL__PORTS__{name.upper()}={port + 1}" in str(raised.value)


def test_the_port_of_airflow_is_not_ours_to_check(tmp_path: Path) -> None:
    settings = temporary_settings(tmp_path)
    with _held(settings.local.ports.airflow):
        ports.check_free(settings)
