"""`python -m docs.make_pictures`: the pictures of docs/pictures, from a real run of `harrison-multivariate`.

The two charts take half a minute on two cores. The screenshot of the pages for people needs Playwright with Chromium
and a service that has such pages; where one of them is absent it is left out, and said so.
"""

import os
import tempfile
from pathlib import Path

import actrobust

FOLDER = Path(__file__).with_name("pictures")
PRESET = "harrison-multivariate"
VIEWS = ("degradation", "forest")
SCREEN = {"width": 1280, "height": 900}


def main() -> None:
    """Draw everything."""
    FOLDER.mkdir(exist_ok=True)
    for name in [name for name in os.environ if name.startswith("ACTROBUST_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="actrobust-pictures-") as folder, actrobust.embedded(folder) as client:
        experiment = client.run(PRESET)
        for view in VIEWS:
            experiment.chart(view).save(FOLDER / f"{view}.svg")
        missing = screenshot(f"{client.base_url}/ui/", experiment.id, FOLDER / "page.png")
    print(f"no screenshot: {missing}" if missing else "screenshot taken")


def screenshot(url: str, experiment_id: str, target: Path) -> str | None:
    """Photograph the page of an experiment; says what is missing instead where it cannot.

    Args:
        url: of the pages for people, with the slash at its end.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return "Playwright is not installed"
    try:
        with sync_playwright() as playwright, playwright.chromium.launch() as browser:
            page = browser.new_page(viewport=SCREEN)
            answer = page.goto(f"{url}{experiment_id}", wait_until="networkidle")
            if answer is None or not answer.ok:
                return f"{url} has no page of an experiment"
            page.screenshot(path=target)
    except Error as error:
        return str(error).splitlines()[0]
    return None


if __name__ == "__main__":
    main()
