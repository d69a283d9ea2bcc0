"""The activation that docs/how-to.md adds, in a copy of the code: one class in one file."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout in which the page's advice was followed."""
    for name in ("actrobust", "api", "shared", "tests", "worker"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    found = re.findall(r"[Aa]ppend th(?:is|ese) to `(.+?)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 2
    for name, addition in found:
        with (tmp_path / name).open("a") as file:
            file.write(f"\n\n{addition}")
    return tmp_path


def python(*arguments: str, folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_one_class_in_one_file_makes_an_activation_that_the_tests_of_the_catalog_know(copy: Path) -> None:
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", "-k", "bent_identity"]
    out = python(*arguments, "tests/shared/catalog/test_activations.py", folder=copy)
    assert re.search(r"\b[1-9]\d* passed", out), out
    named = re.search(r"actrobust run - <<< '(.+)'", TEXT)
    assert named
    code = (
        "import json, sys; from shared.spec import resolve as r; print(r(json.loads(sys.argv[1])).activations[1].name)"
    )
    assert python("-c", code, named[1], folder=copy) == "bent_identity(bend=0.5)\n"
