"""What was taken over is seen like what is trained, also while the rest waits."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from shared.store.db import Database
from tests.api.support import TINY, train
from tests.browser.conftest import serving, visiting
from tests.browser.test_story import expect_curves


def test_curves_begin_with_what_was_trained_before(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, "--no-worker") as client, visiting(browser, client) as visit:
        database = Database(f"sqlite:///{tmp_path / 'data' / 'actrobust.db'}")
        train(database, client.post("/experiments", json=TINY).json()["id"])
        database.close()
        more = client.post("/experiments", json={**TINY, "num_seeds": TINY["num_seeds"] + 1}).json()
        page = visit.open(f"experiment?id={more['id']}")
        expect(page.locator("#state")).to_have_text("queued")
        expect(page.locator("#progress-text")).to_contain_text("12 trained before")
        expect_curves(page, 2 * 2)
