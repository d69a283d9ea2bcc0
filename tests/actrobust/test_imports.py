import subprocess
import sys
from pathlib import Path

from tests.deploy.files import pyproject

PACKAGE = Path(__file__).parents[2] / "actrobust"


def test_every_module_outside_commands_is_held_to_speak_http_only() -> None:
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    [contract] = [each for each in contracts if each["name"] == "the client speaks HTTP only"]
    modules = {f"actrobust.{file.stem}" for file in PACKAGE.glob("*.py") if not file.stem.startswith("__")}
    assert set(contract["source_modules"]) == modules


def test_importing_the_client_loads_nothing_of_the_server_and_no_tables() -> None:
    code = "import sys, actrobust; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    heavy = {"api", "shared", "worker", "torch", "sqlalchemy", "pandas", "numpy", "IPython", "typer"}
    assert heavy.isdisjoint(done.stdout.split())
