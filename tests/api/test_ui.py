"""The pages for people, as files: what is sent, under which policy, and for how long it may be kept."""

import gzip
import re
import tomllib
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.endpoints import ui
from shared.analysis import charts
from shared.store.db import Database
from tests.api.support import problem
from tests.api.test_keys import make_key

PAGES = ("/ui/", "/ui/new", "/ui/experiment", "/ui/compare")
ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(ui.FOLDER.glob("*.js"))


def assets_of(client: TestClient, page: str) -> list[str]:
    return re.findall(r'(?:src|href)="(assets/[^"]+)"', client.get(page).text)


@pytest.mark.parametrize("path", ["/", "/ui"])
def test_the_front_door_leads_to_the_pages(sqlite_client: TestClient, path: str) -> None:
    response = sqlite_client.get(path, follow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (307, "ui/")
    assert sqlite_client.get(path).text == sqlite_client.get("/ui/").text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_and_all_that_it_names_are_there(sqlite_client: TestClient, page: str) -> None:
    response = sqlite_client.get(page)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assets = [name for name in assets_of(sqlite_client, page) if not name.endswith(ui.VEGA)]
    assert len(assets) > 5
    for asset in assets:
        answer = sqlite_client.get(f"/ui/{asset}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == ui.MEDIA_TYPES[Path(asset).suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_may_load_our_files_only_and_run_no_text(sqlite_client: TestClient, page: str) -> None:
    response = sqlite_client.get(page)
    policy = response.headers["content-security-policy"]
    for loose in ("unsafe", "http", "*", "data:", "blob:"):
        assert loose not in policy
    assert "default-src 'none'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert not re.search(r"<style|style=|\son\w+=|javascript:", response.text)
    assert all(re.search(r'src="', tag) for tag in re.findall(r"<script[^>]*>", response.text))
    assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", response.text) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_short_and_makes_no_markup_from_text(script: Path) -> None:
    text = script.read_text()
    assert len(text.splitlines()) < 300
    without_comments = re.sub(r"//.*", "", text)
    for sink in ("innerHTML =", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in without_comments


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_module_that_a_script_imports_exists(script: Path) -> None:
    named = re.findall(r'(?:from|import\() ?"\./([\w.]+)"', script.read_text())
    assert {name for name in named if name != ui.VEGA} <= {each.name for each in SCRIPTS}


def test_a_page_is_asked_for_again_and_its_files_are_kept(sqlite_client: TestClient) -> None:
    page = sqlite_client.get("/ui/new")
    assert page.headers["cache-control"] == "no-cache"
    again = sqlite_client.get("/ui/new", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    # A browser takes the headers of a 304 over.
    assert again.headers["content-security-policy"] == page.headers["content-security-policy"]
    asset = sqlite_client.get("/ui/" + assets_of(sqlite_client, "/ui/new")[0])
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_files_of_another_version_and_pages_that_are_none_do_not_exist(sqlite_client: TestClient) -> None:
    version = assets_of(sqlite_client, "/ui/")[0].split("/")[1]
    for path in (
        "/ui/nothing", f"/ui/assets/{version}/nothing.js", "/ui/assets/0123456789abcdef/style.css",
        f"/ui/assets/{version}/index.html", f"/ui/assets/{version}/..%2f..%2fapp.py",
    ):  # fmt: skip
        problem(sqlite_client.get(path), 404)


def test_a_file_is_sent_compressed_to_those_who_can_read_it(sqlite_client: TestClient) -> None:
    address = "/ui/" + next(name for name in assets_of(sqlite_client, "/ui/") if name.endswith(".css"))
    plain = sqlite_client.get(address, headers={"Accept-Encoding": "identity"})
    with sqlite_client.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as zipped:
        body = b"".join(zipped.iter_raw())
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == plain.content
    assert zipped.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


def test_the_library_of_the_charts_is_ours_to_serve_and_complete(sqlite_client: TestClient) -> None:
    version = assets_of(sqlite_client, "/ui/")[0].split("/")[1]
    response = sqlite_client.get(f"/ui/assets/{version}/{ui.VEGA}")
    assert response.headers["content-type"] == ui.MEDIA_TYPES[".js"]
    assert "immutable" in response.headers["cache-control"]
    assert re.search(r"export\{\S+ as vegaEmbed\};\s*$", response.text)


def test_the_pages_ask_for_no_key(sqlite_client: TestClient, sqlite_url: str) -> None:
    database = Database(sqlite_url)
    make_key(database, "alice")
    database.close()
    problem(sqlite_client.get("/experiments"), 401)
    for page in PAGES:
        assert sqlite_client.get(page).status_code == 200


def test_the_pages_colour_activations_as_the_pictures_do() -> None:
    text = (ui.FOLDER / "vegaview.js").read_text()
    assert re.findall(r"#[0-9A-F]{6}", text.split("PALETTE = [")[1].split("]")[0]) == list(charts.PALETTE)
    assert re.findall(r"\w+", text.split("STUDY = [")[1].split("]")[0]) == list(charts.STUDY)


def test_the_wheel_brings_the_files() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert packages["api"] == ["web/*"]
