"""What a person does in the pages, from the first look to the comparison of two experiments."""

import csv
import json
from pathlib import Path
from typing import Any

import httpx2
import pyarrow.parquet
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.e2e.services import wait_for

SMALL: dict[str, Any] = {
    "preset": "harrison-multivariate", "activations": ["relu", "tanh", "elu"], "num_seeds": 2,
    "dataset": {"train_size": 500, "val_size": 200}, "corruption": {"rates": [0.1, 0.3]},
    "training": {"epochs": 4, "engine": "stacked"},  # nothing has to be compiled
}  # fmt: skip
LONG = {**SMALL, "name": "endless", "activations": ["relu"], "training": {"epochs": 10_000, "engine": "stacked"}}
HOSTILE = '<img src=x onerror="document.title=1"><script>alert(1)</script>'
VIEWS = ["degradation", "forest", "curves", "sweep", "pairs"]

pytestmark = pytest.mark.timeout(120)


def posted(service: httpx2.Client, document: dict[str, Any]) -> str:
    response = service.post("/experiments", json=document)
    assert response.status_code == 202, response.text
    experiment_id: str = response.json()["id"]
    return experiment_id


@pytest.fixture(scope="session")
def small(service: httpx2.Client) -> str:
    experiment_id = posted(service, {**SMALL, "name": HOSTILE})
    wait_for(service, experiment_id, "succeeded")
    return experiment_id


def downloaded(page: Page, button: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=button, exact=True).click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def expect_curves(page: Page, num_lines: int) -> None:
    """The curves that grow are there, and large enough to be read."""
    lines = page.locator("#live-chart .mark-line path[d]")
    expect(lines).to_have_count(num_lines)
    size = page.locator("#live-chart svg").bounding_box()
    assert size is not None
    assert size["width"] > 300


def request_in(page: Page) -> Any:
    return json.loads(page.locator("#request").input_value())


def test_an_experiment_is_started_followed_and_read(visit: Visit, service: httpx2.Client, tmp_path: Path) -> None:
    page = visit.open("")
    page.get_by_role("link", name="New experiment").first.click()
    page.get_by_label("Seeds", exact=True).fill("2")
    page.get_by_label("Epochs", exact=True).fill("40")
    page.get_by_label("Train size").fill("500")
    page.get_by_label("Engine").select_option("stacked")
    for name in ("leaky_relu", "prelu", "sigmoid", "softsign"):
        page.get_by_role("button", name=f"Remove {name}").click()
    assert request_in(page) == {
        "preset": "harrison-multivariate", "num_seeds": 2, "training": {"epochs": 40, "engine": "stacked"},
        "dataset": {"kind": "fbm", "train_size": 500}, "activations": ["relu", "elu", "tanh"],
    }  # fmt: skip
    expect(page.locator("#plan")).to_contain_text("Runs12Jobs")
    page.get_by_role("button", name="Start experiment").click()
    page.wait_for_url("**/ui/experiment?id=*")
    progress = page.get_by_role("progressbar")
    expect_curves(page, 3 * 2)
    assert float(progress.get_attribute("value") or 0) < 1
    expect(page.locator("#state")).to_have_text("succeeded")
    assert progress.get_attribute("value") == "1"
    for view in VIEWS:
        expect(page.locator(f"figure[data-view={view}] svg")).to_be_visible()
    assert page.locator("#ranking tbody tr").count() == 3
    with downloaded(page, "Every epoch, CSV", tmp_path).open() as file:
        assert len(list(csv.DictReader(file))) == 12 * 40


def test_all_data_and_pictures_can_be_kept(visit: Visit, small: str, tmp_path: Path) -> None:
    page = visit.open(f"experiment?id={small}")
    expect(page.locator("figure[data-view=pairs] svg")).to_be_visible()
    rows = 3 * 3 * 2 * 4
    assert pyarrow.parquet.read_table(downloaded(page, "Every epoch, Parquet", tmp_path)).num_rows == rows
    assert len(json.loads(downloaded(page, "Every epoch, JSON", tmp_path).read_text())) == rows
    assert json.loads(downloaded(page, "Comparison, JSON", tmp_path).read_text())["raw"]
    beginnings = {"PNG": b"\x89PNG", "SVG": b"<svg", "Vega-Lite": b"{"}
    for kind, beginning in beginnings.items():
        button = f"Download the chart “Degradation by epoch” as {kind}"
        assert downloaded(page, button, tmp_path).read_bytes().startswith(beginning)


def test_the_comparison_can_be_asked_otherwise(visit: Visit, small: str) -> None:
    page = visit.open(f"experiment?id={small}")
    expect(page.get_by_text("Ranking with 30 % of the training rows dirty").first).to_be_visible()
    page.get_by_label("Dirty rows").select_option("0.1")
    page.get_by_label("Score").select_option("best")
    expect(page.locator("#reading")).to_contain_text("score best")
    expect(page.get_by_role("img", name="With 10 % of the rows dirty").first).to_be_visible()
    page.locator("#pairs-summary").click()
    assert page.locator("#pairs tbody tr").count() == 3


def test_a_name_is_text_wherever_it_stands(visit: Visit, small: str) -> None:
    for path in ("", f"experiment?id={small}", f"compare?a={small}&b={small}", f"new?clone={small}"):
        page = visit.open(path)
        assert page.locator("main img").count() == 0
        values = page.locator("input").evaluate_all("all => all.map((each) => each.value)")
        assert HOSTILE in page.locator("main").inner_text() + " ".join(values)
    assert page.title() != "1"


def test_an_experiment_is_cancelled_resumed_and_deleted(visit: Visit, service: httpx2.Client) -> None:
    experiment_id = posted(service, LONG)
    page = visit.open(f"experiment?id={experiment_id}")
    expect_curves(page, 3)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("running")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelled")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep").click()
    assert service.get(f"/experiments/{experiment_id}").status_code == 200
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/ui/")
    assert service.get(f"/experiments/{experiment_id}").status_code == 404


def test_two_are_chosen_in_the_list_and_compared(visit: Visit, service: httpx2.Client, small: str) -> None:
    training = {**SMALL["training"], "optimizer": {"kind": "sgd"}}
    other = posted(service, {**SMALL, "name": "with SGD", "training": training})
    wait_for(service, other, "succeeded")
    page = visit.open("?state=succeeded")
    for name in ("with SGD", HOSTILE):
        page.get_by_label(f"Choose {name} to compare", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/ui/compare?*")
    expect(page.locator("#differences")).to_contain_text("/training/optimizer/kind")
    assert page.locator("#rankings tbody tr").count() == 3
    expect(page.locator("#charts figure svg")).to_have_count(2)


def test_the_list_is_filtered_and_follows_what_runs(visit: Visit, service: httpx2.Client, small: str) -> None:
    page = visit.open("")
    experiment_id = posted(service, {**LONG, "name": "comes while one looks"})
    page.reload()
    row = page.get_by_role("row").filter(has_text="comes while one looks")
    expect(row).to_contain_text("running")
    service.post(f"/experiments/{experiment_id}/cancel")
    expect(row).to_contain_text("cancelled")
    page.get_by_label("State").select_option("failed")
    expect(page.get_by_text("No experiment is failed.")).to_be_visible()
    page.get_by_label("State").select_option("cancelled")
    expect(row).to_be_visible()


def test_each_problem_stands_at_its_field_and_form_and_text_keep_step(visit: Visit) -> None:
    page = visit.open("new")
    page.get_by_label("Rates").fill("0.1, 1.5")
    page.get_by_label("Epochs", exact=True).fill("many")
    for label, said in (("Rates", "less than 1"), ("Epochs", "valid integer")):
        field = page.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.locator("div.field").filter(has=field).locator(".fault")).to_contain_text(said)
    expect(page.get_by_role("button", name="Start experiment")).to_be_disabled()
    page.locator("#request").fill('{"dataset": {"kind": "digits"}, "num_seeds": 3}')
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("20")
    expect(page.get_by_label("Seeds", exact=True)).to_have_value("3")
    expect(page.get_by_label("Metric")).to_have_value("accuracy")
    expect(page.get_by_role("button", name="Start experiment")).to_be_enabled()
    page.locator("#request").fill('{"dataset": ')
    expect(page.locator("#request-fault")).to_contain_text("not JSON")
    expect(page.get_by_role("button", name="Start experiment")).to_be_disabled()


def test_another_data_set_brings_what_fits_it(visit: Visit) -> None:
    page = visit.open("new")
    page.get_by_label("Data set").select_option("digits")
    expect(page.get_by_label("Loss", exact=True)).to_have_value("cross_entropy")
    page.get_by_label("Another activation").select_option("snake")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#warnings, #faults").first).to_be_hidden()
    page.get_by_label("Alpha").last.fill("2")
    assert request_in(page)["activations"][-1] == {"kind": "snake", "alpha": 2}


def test_a_clone_differs_in_its_name_only(visit: Visit, service: httpx2.Client, small: str) -> None:
    page = visit.open(f"new?clone={small}")
    expect(page.get_by_role("button", name="Start experiment")).to_be_enabled()
    plan = service.post("/experiments?validate_only=true", json=request_in(page)).json()
    original = service.get(f"/experiments/{small}").json()["spec"]
    assert plan["spec"].pop("name") == f"{original.pop('name')}, again"
    assert plan["spec"] == original


def test_who_would_train_again_what_is_known_is_told_so(visit: Visit, small: str) -> None:
    page = visit.open(f"new?clone={small}")
    expect(page.locator("#plan")).to_contain_text("trained before")
    expect(page.locator("#plan")).to_contain_text("Timenone: all of it was trained before")
    page.get_by_role("button", name="Start experiment").click()
    page.wait_for_url("**/ui/experiment?id=*")
    expect(page.locator("#state")).to_have_text("succeeded")
    expect(page.locator("#progress-text")).to_contain_text("trained before")


def test_the_curl_command_is_what_the_page_would_send(visit: Visit) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visit.open("new")
    page.get_by_label("Name", exact=True).fill("it's mine")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#copied")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl -s '{visit.url}/experiments' --json '")
    assert '"name":"it\'\\\'\'s mine"' in copied


def test_what_does_not_exist_is_said_so(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.url}/ui/experiment?id=nothing")
    expect(page.get_by_role("alert")).to_contain_text("names no experiment")


def test_a_precision_target_is_asked_for_and_taken_back(visit: Visit) -> None:
    page = visit.open("new")
    page.get_by_label("Precision target").fill("0.002")
    expect(page.locator("#plan")).to_contain_text("Runs70, at most 700")
    expect(page.get_by_label("Seeds", exact=True)).to_have_value("5")
    expect(page.get_by_label("Seeds at most")).to_have_value("50")
    assert request_in(page) == {"preset": "harrison-multivariate", "until": {"ci_half_width": 0.002}}
    page.get_by_label("Seeds at most").fill("4")
    expect(page.locator("div.field").filter(has_text="Seeds at most").locator(".fault")).to_contain_text("5")
    page.get_by_label("Seeds at most").fill("")
    page.get_by_label("Precision target").fill("")
    expect(page.locator("#plan")).to_contain_text("Runs140Jobs")
    assert request_in(page) == {"preset": "harrison-multivariate"}


def test_the_page_says_how_near_a_precision_target_is(visit: Visit, service: httpx2.Client) -> None:
    experiment_id = posted(service, {**SMALL, "until": {"ci_half_width": 1e-9, "max_seeds": 5}})
    wait_for(service, experiment_id, "succeeded")
    page = visit.open(f"experiment?id={experiment_id}")
    expect(page.locator("#precision")).to_contain_text("not reached at 5 of at most 5 seeds")
    expect(page.locator("#what")).to_contain_text("5 of at most 5 seeds")
    expect(page.locator("#ranking")).to_contain_text("97.5 % interval")
    expect(page.locator("#remarks")).to_contain_text("the precision target was not reached")
