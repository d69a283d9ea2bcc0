"""What the tutorial lets a person type, against a real service on another port."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import absent
from tests.e2e.services import command, environment, url_printed_by

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the reader stands: a checkout has its commands in .venv/bin."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "actrobust").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m actrobust "$@"\n')
    (programs / "actrobust").chmod(0o755)
    return tmp_path


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    log = folder / "stderr.log"
    with command("serve", "--port", "0", env=environment(folder / "data"), log=log) as serving:
        yield url_printed_by(serving, log)


def script(folder: Path, url: str) -> str:
    """All that a reader types after the service was started, in its order; what is Python lies in files."""
    (_, serving), *blocks = re.findall(r"```(console|python)\n(.*?)```", TEXT, re.DOTALL)
    assert "actrobust serve" in serving
    lines = ["set -eu"]
    for number, (language, block) in enumerate(blocks):
        if language == "console":
            lines += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        else:
            (folder / f"{number}.py").write_text(block.replace("http://localhost:8000", url))
            lines.append(f"{shlex.quote(sys.executable)} {number}.py")
    text = "\n".join(lines).replace("curl -s", "curl -s --fail --noproxy '*'")
    return text.replace("localhost:8000", url.removeprefix("http://"))


def require_curl() -> None:
    done = subprocess.run(["bash", "-c", "curl -V || true"], capture_output=True, text=True, check=True)
    version = re.match(r"curl (\d+)\.(\d+)", done.stdout)
    if version is None or (int(version[1]), int(version[2])) < (7, 82):
        absent("curl 7.82 or later is not here")


@pytest.mark.timeout(300)
def test_the_tutorial_works_from_top_to_bottom(folder: Path, url: str) -> None:
    require_curl()
    env = {**environment(folder / "data"), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "-c", script(folder, url)],
        cwd=folder, env=env, capture_output=True, text=True, timeout=270, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"runs":70' in done.stdout.replace(" ", "")
    assert "tutorial (" in done.stdout
    compared = json.loads((folder / "comparison.json").read_text())
    assert compared["complete"] is True
    assert [entry["activation"] for entry in compared["activations"]] == ["relu", "elu", "tanh"]
    assert (folder / "forest.svg").read_text().startswith("<svg")
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + 3 * 2 * 5 * 10
    assert "degradation_mean" in done.stdout
    assert (folder / "degradation.svg").read_text().startswith("<svg")
    assert "\nsucceeded\n" in done.stdout
