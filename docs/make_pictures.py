"""`python -m docs.make_pictures`: the pictures of docs/pictures, from a real run of `harrison-multivariate`.

The two charts take half a minute on two cores. The screenshot of the experiment's page needs Playwright and the
system's Chromium; where one of them is absent it is left out, and said so.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import actrobust

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

FOLDER = Path(__file__).with_name("pictures")
PRESET = "harrison-multivariate"
VIEWS = ("degradation", "forest")
SCREEN: "ViewportSize" = {"width": 1280, "height": 960}


def main() -> None:
    """Draw everything."""
    FOLDER.mkdir(exist_ok=True)
    for name in [name for name in os.environ if name.startswith("ACTROBUST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="actrobust-pictures-") as folder, actrobust.embedded(folder) as client:
        experiment = client.run(PRESET)
        for view in VIEWS:
            experiment.chart(view).save(FOLDER / f"{view}.svg")
        missing = screenshot(f"{client.base_url}/ui/experiment?id={experiment.id}", FOLDER / "page.png")
    print(f"no screenshot: {missing}" if missing else "screenshot taken")


def screenshot(url: str, target: Path) -> str | None:
    """Photograph a page with the system's Chromium; says what is missing instead where it cannot."""
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        return "there is no chromium on this machine"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "Playwright is not installed"
    # Its sandbox does not start for root; the page is our own.
    options = {"executable_path": browser_path, "args": ["--no-sandbox"]}
    with sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        page = browser.new_page(viewport=SCREEN)
        page.goto(url)
        for view in VIEWS:
            page.locator(f"figure[data-view={view}] svg").wait_for()
        page.screenshot(path=target)
    return None


if __name__ == "__main__":
    main()
