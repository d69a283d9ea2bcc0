"""That everybody can use the pages: axe-core finds nothing serious, and nothing scrolls sideways on a telephone."""

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Visit, visiting
from tests.browser.test_story import HOSTILE, SMALL, posted
from tests.e2e.services import wait_for

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PAGES = ("", "new", "experiment?id={0}", "compare?a={0}&b={0}")
# Where pictures of the pages are left for people to look at.
PICTURES = os.environ.get("ACTROBUST_TEST_PICTURES")

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="session")
def shown(service: httpx2.Client) -> str:
    experiment_id = posted(service, {**SMALL, "name": f"{HOSTILE} {'long' * 30}", "num_seeds": 5})
    wait_for(service, experiment_id, "succeeded")
    return experiment_id


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def drawn(visit: Visit, path: str) -> Page:
    page = visit.open(path)
    if "new" in path:
        expect(page.locator("#plan")).to_contain_text("Runs")
    for figure in page.locator("figure").all():
        expect(figure.locator("svg")).to_be_visible()
        expect(figure.locator(".chart")).not_to_have_attribute("aria-busy", "true")
    return page


def keep(page: Page, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def violations(page: Page) -> list[Any]:
    page.evaluate(AXE_FILE_PATH.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)")
    grave = [each for each in found if each["impact"] in {"serious", "critical"}]
    return [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in grave]


@pytest.mark.parametrize("path", PAGES, ids=["list", "new", "experiment", "compare"])
def test_axe_finds_nothing_serious_and_no_page_is_wider_than_the_screen(
    browser: Browser, service: httpx2.Client, shown: str, scheme: Any, path: str, request: pytest.FixtureRequest
) -> None:
    with visiting(browser, service, color_scheme=scheme, viewport=NARROW) as visit:
        page = drawn(visit, path.format(shown))
        name = request.node.callspec.id
        keep(page, f"{name}-390")
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]
        page.wait_for_timeout(300)
        for details in page.locator("details:visible > summary").all():
            details.click()
        keep(page, f"{name}-1440")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == WIDE["width"]


def test_the_keyboard_alone_is_enough_to_start_an_experiment(visit: Visit) -> None:
    page = visit.open("new")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "preset"
    seen = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        focus = page.evaluate("[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]")
        assert focus[1] != "none", f"the focus cannot be seen on {focus[0]}"
        seen.add(focus[0])
        if focus[0] == "submit":
            break
    assert "submit" in seen


def test_progress_and_pictures_speak(visit: Visit, shown: str) -> None:
    page = drawn(visit, f"experiment?id={shown}")
    for view in ("degradation", "forest", "curves", "sweep", "pairs"):
        label = page.locator(f"figure[data-view={view}] [role=img]").get_attribute("aria-label")
        assert label is not None
        assert "loses least" in label
    assert page.get_by_role("progressbar", name="Progress").count() == 1
    assert page.locator("#announcer[role=status]").count() == 1
    for table in page.locator("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("thead th:not([scope])").count() == 0


def test_pictures_follow_the_colour_scheme(browser: Browser, service: httpx2.Client, shown: str) -> None:
    with visiting(browser, service, color_scheme="light") as visit:
        page = drawn(visit, f"experiment?id={shown}")
        text = page.locator("figure[data-view=forest] svg text").first
        light = text.get_attribute("fill")
        page.emulate_media(color_scheme="dark")
        expect(text).not_to_have_attribute("fill", str(light))
