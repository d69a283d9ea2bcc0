"""A real browser in front of a real service. Where Chromium is absent, these tests skip and say so."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import absent
from tests.e2e.services import command, environment, url_printed_by

PATIENCE_MS = 20_000
NAMES = ("chromium", "chromium-browser", "google-chrome")
# The browser itself writes a line for each refused request: what a page makes of those, tests look at in the page.
REFUSALS = tuple(f"the server responded with a status of {status}" for status in (401, 409, 422))
# When the page was first of use, and what kept the browser from answering to its user.
WATCH = """
  window.watched = {usable: null, blocks: []};
  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) window.watched.blocks.push({at: each.startTime, ms: each.duration});
  }).observe({type: 'longtask', buffered: true});
  addEventListener('DOMContentLoaded', () => {
    const main = document.querySelector('main');
    if (!main) return;
    new MutationObserver(() => {
      if (!main.hasAttribute('aria-busy')) window.watched.usable ??= performance.now();
    }).observe(main, {attributes: true});
  });
"""


@dataclass
class Visit:
    """A person's tab: the page, and everything that should not have happened in it."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a page of ours and wait until it can be used."""
        self.page.goto(f"{self.url}/ui/{path}")
        self.page.wait_for_selector("main:not([aria-busy])")
        return self.page

    def watch(self) -> None:
        """Write down console errors, failed scripts, and whatever is asked of another host."""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(known in message.text for known in REFUSALS):
            self.faults.append(f"console {message.type}: {message.text} {message.location}")

    def _asked(self, url: str) -> None:
        there = urlsplit(url)
        if there.scheme not in {"blob", "data"} and there.netloc != urlsplit(self.url).netloc:
            self.faults.append(f"a request to {url}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine; Playwright's own is never downloaded."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        absent("there is no chromium on this machine")
    with sync_playwright() as playwright:
        # Its sandbox does not start for root, as whom tests in containers run; they look at our own pages only.
        expect.set_options(timeout=PATIENCE_MS)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[httpx2.Client]:
    """An embedded service on a folder of its own."""
    log = folder / "stderr.log"
    with ExitStack() as stack:
        serve = command("serve", "--port", "0", *arguments, env=environment(folder / "data"), log=log)
        url = url_printed_by(stack.enter_context(serve), log)
        yield stack.enter_context(httpx2.Client(base_url=url, timeout=30, trust_env=False))


@pytest.fixture(scope="session")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A service that trains."""
    with serving(tmp_path_factory.mktemp("pages")) as client:
        yield client


@contextmanager
def visiting(browser: Browser, client: httpx2.Client, **options: Any) -> Iterator[Visit]:
    """A tab that must see no error and ask nothing of another host."""
    settings = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", **options}
    with browser.new_context(**settings) as context:
        context.add_init_script(WATCH)
        visit = Visit(context.new_page(), str(client.base_url).rstrip("/"))
        visit.page.set_default_timeout(PATIENCE_MS)
        visit.watch()
        yield visit
    assert visit.faults == []


@pytest.fixture
def visit(browser: Browser, service: httpx2.Client) -> Iterator[Visit]:
    """A tab on the service that trains."""
    with visiting(browser, service) as visit:
        yield visit
