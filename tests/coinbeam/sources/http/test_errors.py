"""Errors carry what a program needs, survive pickling, and say what to do."""

import pickle

import pytest

from coinbeam.errors import TerminalError, TransientError
from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.coingecko import CODES, coingecko_api
from coinbeam.sources.http.errors import (
    MEANINGS,
    ApiError,
    ApiTerminalError,
    ApiTransientError,
    ThrottledError,
    UnreachableError,
)

API = coingecko_api(CoinGeckoSettings(plan="demo"))


@pytest.mark.parametrize("kind", [ApiError, ApiTerminalError, ApiTransientError, ThrottledError, UnreachableError])
def test_an_error_survives_pickling(kind):
    error = kind("HTTP 429.", "Wait.", 429, 1015, 119.0, 3, 2)
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is kind
    assert str(twin) == "HTTP 429. Wait."
    assert vars(twin) == vars(error)


@pytest.mark.parametrize("number", [*MEANINGS, *CODES])
def test_every_known_code_is_either_terminal_or_transient_and_has_a_remedy(number):
    entry = API.refusal(number)
    assert issubclass(entry.kind, TerminalError) is not issubclass(entry.kind, TransientError)
    assert entry.remedy.endswith(".")
    assert "{" not in entry.remedy


@pytest.mark.parametrize("number", [408, 429, 500, 502, 503, 504, 520, 599, 1015])
def test_codes_that_pass_are_transient(number):
    assert issubclass(API.refusal(number).kind, TransientError)


@pytest.mark.parametrize(
    "number",
    [400, 401, 402, 403, 404, 405, 410, 418, 422, 1020, 10_002, 10_005, 10_006, 10_010, 10_011, 10_012, 10_999],
)
def test_codes_that_stay_are_terminal(number):
    assert issubclass(API.refusal(number).kind, TerminalError)
