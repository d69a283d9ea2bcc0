"""A service with API keys asks for one in the page, and the key stays where it belongs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit, serving, visiting
from tests.browser.test_story import SMALL
from tests.e2e.services import environment

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def locked(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx2.Client, str]]:
    """A service that has a key, and the key; nobody trains there."""
    folder: Path = tmp_path_factory.mktemp("locked")
    with serving(folder, "--no-worker") as client:
        made = subprocess.run(
            [sys.executable, "-m", "actrobust", "keys", "create", "--name", "alice"],
            env={**os.environ, **environment(folder / "data")}, capture_output=True, text=True, check=True, cwd=folder,
        )  # fmt: skip
        key = next(word for word in made.stdout.split() if word.startswith("actrobust_"))
        client.headers["Authorization"] = f"Bearer {key}"
        assert client.post("/experiments", json={**SMALL, "name": "behind the key"}).status_code == 202
        yield client, key


@pytest.fixture
def stranger(browser: Browser, locked: tuple[httpx2.Client, str]) -> Iterator[Visit]:
    with visiting(browser, locked[0]) as visit:
        yield visit


def test_the_page_asks_for_a_key_and_shows_nothing_without_it(stranger: Visit) -> None:
    page = stranger.page
    page.goto(f"{stranger.url}/ui/")
    dialog = page.get_by_role("dialog", name="This service asks for an API key")
    expect(dialog.get_by_label("API key", exact=True)).to_be_focused()
    dialog.get_by_label("API key", exact=True).fill("actrobust_0123456789_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(page.locator("#problem")).to_contain_text("A key is needed")
    assert "behind the key" not in page.content()


def test_the_key_opens_every_page_of_the_tab_and_is_gone_after_signing_out(
    stranger: Visit, locked: tuple[httpx2.Client, str], tmp_path: Path
) -> None:
    page, key = stranger.page, locked[1]
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(f"{stranger.url}/ui/")
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("link", name="behind the key").click()
    expect(page.locator("#state")).to_have_text("queued")
    with page.expect_download() as started:
        page.get_by_role("button", name="Every epoch, CSV").click()
    started.value.save_as(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text().startswith("run_id,")
    assert not any(key in address for address in addresses)
    kept = page.evaluate("[Object.values(localStorage), document.cookie, Object.values(sessionStorage)]")
    assert kept == [[], "", [key]]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("Object.values(sessionStorage)") == []
