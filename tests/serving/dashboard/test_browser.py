"""The dashboard in a real browser: every page, a coin that is chosen, both modes, both sign-ins, and no request to anybody
else.

With ``DASHBOARD_SCREENSHOTS=docs`` it also takes the pictures of the documentation, of the dashboard that already runs at
``DASHBOARD_URL``.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from oidc_provider_mock import run_server_in_thread
from playwright.sync_api import Browser, Page, expect, sync_playwright

from coinbeam.settings import ROOT, ServingSettings, Settings, SignIn
from serving.dashboard.iap import HEADER
from serving.dashboard.server import command
from tests.deploy.emulator import running
from tests.serving.dashboard import proxy as iap
from tests.serving.dashboard.made import BUCKET, Market, build, settings_of
from tests.temporary import free_ports

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.cloud,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
    pytest.mark.timeout(240),
]
CLOUD_BUCKET = "acme-coinbeam"
PROVIDERS_STYLE = "https://cdn.jsdelivr.net/"
"""Where the pages of the mock of a provider have their style from."""
PATIENCE = 60_000
"""Milliseconds; a busy machine takes long to import what a first page needs."""
expect.set_options(timeout=PATIENCE)  # five seconds by default: too few beside two other tests


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, started once."""
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dict[str, str]]]:
    """A bundle of this machine and one of a cloud, of today, and the variables by which a server finds both."""
    folder, today = tmp_path_factory.mktemp("dashboard"), datetime.now(UTC)
    with running() as here, running() as there:
        here.create_bucket(BUCKET)
        there.create_bucket(CLOUD_BUCKET)
        settings = settings_of(here, folder, cloud_bucket=CLOUD_BUCKET)
        build(settings, Market(last=today.date()), today)
        cloud = settings_of(there, folder / "there").model_copy(
            update={"storage": settings.storage.model_copy(update={"bucket": CLOUD_BUCKET})}
        )
        build(cloud, Market(last=today.date() - timedelta(days=1), source_id="coingecko"), today)
        yield (
            settings,
            {
                "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{there.port}",
                "COINBEAM_LOCAL__STATE_DIR": str(folder),
                "COINBEAM_LOCAL__PORTS__STORAGE": str(here.port),
                "COINBEAM_SERVING__CLOUD_BUCKET": CLOUD_BUCKET,
                "COINBEAM_SERVING__POLL_SECONDS": "0.5",
            },
        )


@contextmanager
def served(settings: ServingSettings, variables: dict[str, str], folder: Path, port: int) -> Iterator[str]:
    """The server as ``coinbeam dashboard`` starts it."""
    url = f"http://127.0.0.1:{port}"
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command(settings, "127.0.0.1", port, here_alone=True),
            cwd=folder,
            env=os.environ | variables | {"PYTHONPATH": str(ROOT)},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(lambda: answers(f"{url}/_stcore/health"), 60, "the dashboard did not come up")
            yield url
        finally:
            process.terminate()
            process.wait(20)


def answers(url: str) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(url, timeout=5).ok
    return False


def wait_until(done: Callable[[], Any], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


@pytest.fixture(scope="module")
def dashboard(environment: tuple[Settings, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard without a sign-in."""
    settings, variables = environment
    with served(settings.serving, variables, tmp_path_factory.mktemp("open"), free_ports(1)[0]) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails when anything is asked of another machine than this one, or the console tells of an error."""
    with watched(browser) as one:
        yield one


@contextmanager
def watched(browser: Browser, refused: str = "", **options: Any) -> Iterator[Page]:
    """A page of its own context that is held to loopback.

    Args:
        refused: requests that begin so are another's, are not sent, and do not count.
    """
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, **options)
    context.set_default_timeout(PATIENCE)
    one, elsewhere = context.new_page(), set()

    def note(url: str) -> None:
        if refused and url.startswith(refused):
            return
        if not re.match(r"(https?|wss?)://(127\.0\.0\.1|localhost):\d+/|data:|blob:", url):
            elsewhere.add(url)

    one.on("request", lambda request: note(request.url))
    one.on("websocket", lambda socket: note(socket.url))
    if refused:
        one.route(f"{refused}**", lambda route: route.abort())
    yield one
    assert elsewhere == set(), "a request left the machine"
    context.close()


def shows(page: Page, title: str) -> None:
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=PATIENCE)


def test_every_page_is_reached_by_the_keyboard_and_by_its_address(page: Page, dashboard: str) -> None:
    page.goto(dashboard)
    shows(page, "Market")
    expect(page.get_by_test_id("stPlotlyChart").locator(".main-svg").first).to_be_visible()
    for name, title in (
        ("Coin", "Coin 0 C0"),
        ("Fear & Greed", "Fear & Greed"),
        ("Movers", "Movers"),
        ("Trust", "Trust"),
    ):
        link = page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True)
        link.focus()
        link.press("Enter")
        shows(page, title)
        expect(page.get_by_text("Crypto Fear & Greed Index by alternative.me")).to_be_visible()
    for path, title in (("/fear-greed?days=max", "Fear & Greed"), ("/coin?id=coin-00003&days=7", "Coin 3 C3")):
        page.goto(dashboard + path)
        shows(page, title)
        wanted = path.rpartition("=")[2]
        expect(page.get_by_role("radio", name=wanted, exact=True)).to_be_checked()
        assert page.url == dashboard + path


def test_a_coin_is_chosen_in_the_table(page: Page, dashboard: str) -> None:
    page.goto(dashboard)
    shows(page, "Market")
    table = page.get_by_test_id("stDataFrame")
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 20, box["y"] + 35 * 2.5)  # the box of the second row; a canvas has no elements
    shows(page, "Coin 1 C1")
    assert "id=coin-00001" in page.url


def test_a_newer_version_appears_without_a_click(
    page: Page, dashboard: str, environment: tuple[Settings, dict[str, str]]
) -> None:
    settings, _ = environment
    page.goto(f"{dashboard}/trust")
    shows(page, "Trust")
    before = page.get_by_text(re.compile("^LOCAL · batch")).inner_text()
    source = Market(last=datetime.now(UTC).date())
    source.refreshed_at = datetime.now(UTC)
    build(settings, source, datetime.now(UTC))
    expect(page.get_by_text(re.compile("^LOCAL · batch"))).not_to_have_text(before, timeout=PATIENCE)


def test_the_environment_is_switched_and_kept_from_page_to_page(page: Page, dashboard: str) -> None:
    page.goto(f"{dashboard}/movers?environment=CLOUD")
    shows(page, "Movers")
    expect(page.get_by_text(re.compile("^CLOUD · batch"))).to_be_visible()
    expect(page.get_by_text("Data provided by CoinGecko")).to_be_visible()
    expect(page.get_by_text("Simulated prices.")).to_be_hidden()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Trust", exact=True).click()
    shows(page, "Trust")
    expect(page.get_by_text(re.compile("^CLOUD · batch"))).to_be_visible()
    page.get_by_role("radio", name="LOCAL").click()
    expect(page.get_by_text(re.compile("^LOCAL · batch"))).to_be_visible()
    expect(page.get_by_text("Simulated prices.")).to_be_visible()


def test_the_mode_of_the_browser_is_followed_by_pages_and_charts(page: Page, dashboard: str) -> None:
    page.goto(dashboard)
    for mode, brightness, line in (("light", 700, "rgb(0, 114, 178)"), ("dark", 100, "rgb(86, 180, 233)")):
        page.emulate_media(color_scheme=mode)
        expect(page.locator(".scatterlayer path.js-line").first).to_have_css("stroke", line, timeout=PATIENCE)
        background = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", background)[:3])) == pytest.approx(brightness, abs=80)


def test_whoever_the_provider_knows_is_let_in_and_goes_again(
    browser: Browser, environment: tuple[Settings, dict[str, str]], tmp_path: Path
) -> None:
    settings, variables = environment
    [port] = free_ports(1)
    with run_server_in_thread() as provider:
        secrets = tmp_path / "secrets.toml"
        secrets.write_text(
            f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "a secret of this test alone"
client_id = "coinbeam"
client_secret = "another"
server_metadata_url = "http://127.0.0.1:{provider.server_port}/.well-known/openid-configuration"
"""
        )
        serving = settings.serving.model_copy(update={"sign_in": SignIn.OIDC, "secrets_file": secrets})
        with (
            served(serving, variables | {"COINBEAM_SERVING__SIGN_IN": "oidc"}, tmp_path, port) as url,
            watched(browser, PROVIDERS_STYLE) as page,
        ):
            page.goto(f"{url}/trust")
            expect(page.get_by_text("Sign in to see the market.")).to_be_visible()
            expect(page.get_by_text("Version", exact=True)).to_be_hidden()
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("textbox").first.fill("someone@example.com")
            page.get_by_role("button", name="Authorize").click()
            shows(page, "Market")
            expect(page.get_by_text("Signed in as someone@example.com")).to_be_visible()
            page.get_by_role("button", name="Sign out").click()
            page.get_by_role("button", name="End session").click()  # the provider ends its own, too
            expect(page.get_by_text("Sign in to see the market.")).to_be_visible()


def test_only_an_assertion_of_the_proxy_shows_anything(
    browser: Browser, environment: tuple[Settings, dict[str, str]], tmp_path: Path
) -> None:
    settings, variables = environment
    with iap.running() as proxy:
        variables = variables | {
            "COINBEAM_SERVING__SIGN_IN": "iap",
            "COINBEAM_SERVING__IAP_AUDIENCE": iap.AUDIENCE,
            "COINBEAM_SERVING__IAP_KEYS_URL": proxy.keys_url,
        }
        with served(settings.serving, variables, tmp_path, free_ports(1)[0]) as url:
            for headers, said in (
                ({"x-goog-authenticated-user-email": iap.EMAIL}, "only reached through Identity-Aware Proxy"),
                ({HEADER: proxy.assertion(aud="another")}, "is not valid: InvalidAudienceError"),
            ):
                with watched(browser, extra_http_headers=headers) as page:
                    page.goto(url)
                    expect(page.get_by_text(said)).to_be_visible()
                    expect(page.get_by_role("heading", name="Market")).to_be_hidden()
                    expect(page.get_by_test_id("stSidebarNav")).to_be_hidden()
            with watched(browser, extra_http_headers={HEADER: proxy.assertion()}) as page:
                page.goto(url)
                shows(page, "Market")
                expect(page.get_by_text(f"Signed in as {iap.EMAIL}")).to_be_visible()


@pytest.mark.skipif("DASHBOARD_SCREENSHOTS" not in os.environ, reason="DASHBOARD_SCREENSHOTS names no folder")
def test_the_pictures_of_the_documentation(page: Page) -> None:
    folder, url = Path(os.environ["DASHBOARD_SCREENSHOTS"]), os.environ["DASHBOARD_URL"]
    for name, path, height in (
        ("market", "/", 1100),
        ("coin", "/coin?id=bitcoin&days=365", 1560),
        ("trust", "/trust", 1240),
    ):
        page.set_viewport_size({"width": 1400, "height": height})
        page.goto(url + path)
        page.wait_for_timeout(5_000)
        page.screenshot(path=folder / f"dashboard_{name}.png")
