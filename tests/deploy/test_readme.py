import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from actrobust.commands import app
from api.app import create_app
from shared.settings import Settings
from shared.spec import resolve
from tests.deploy.files import ROOT, make_targets, read


@pytest.mark.parametrize("target", make_targets())
def test_the_readme_mentions_every_make_target(target: str) -> None:
    assert f"make {target}" in read("README.md")


def test_the_readme_leads_to_the_page_of_settings() -> None:
    assert "](docs/reference-settings.md)" in read("README.md")


def test_every_link_of_the_readme_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read("README.md"))
    missing = [target for target in targets if not target.startswith("http") and not (ROOT / target).exists()]
    assert missing == []


def test_the_readme_lists_every_call_of_the_api_and_no_other(tmp_path: Path) -> None:
    document = create_app(Settings(_env_file=None, data_dir=tmp_path)).openapi()
    exist = {f"{method.upper()} {path}" for path, calls in document["paths"].items() for method in calls}
    rows = re.findall(r"^\| (`(?:GET|POST|DELETE) .+?`) \| ", read("README.md"), re.MULTILINE)
    listed = {call for row in rows for call in re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", row)}
    undocumented = {"GET /docs", "GET /ui/"}
    assert {re.sub(r"\{\w+\}", "{}", call) for call in listed - undocumented} == {
        re.sub(r"\{\w+\}", "{}", call) for call in exist
    }


def test_the_readme_lists_every_command() -> None:
    commands = vars(get_command(app))["commands"]
    missing = [name for name in commands if f"`actrobust {name}" not in read("README.md")]
    assert missing == []


def test_the_spec_shown_in_the_readme_is_valid() -> None:
    (text,) = re.findall(r"```json\n(\{\n  \"name\": .*?)```", read("README.md"), re.DOTALL)
    assert resolve(json.loads(text)).name == "multivariate, three rates"
