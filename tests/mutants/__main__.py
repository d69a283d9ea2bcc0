"""Takes one safeguard after another out of a copy of the tree, and demands that the tests notice each time.

`python -m tests.mutants [part of a mutation's name]`; the exit code is 1 when one goes unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from tests.mutants.mutations import MUTATIONS, Edit, Mutation

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
LONGEST_RUN_S = 900


class Copy:
    """A copy of the tree in which files may be changed and tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Python would take compiled code for current whose source changed within a second, and is as long.
        self._changed_at = count(int(time.time()) + 10, 10)
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)

    def change(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            self._write(edit.file, edit.applied(self.folder))

    def restore(self, edits: Sequence[Edit]) -> None:
        for edit in edits:
            self._write(edit.file, (ROOT / edit.file).read_text())

    def _write(self, file: str, content: str) -> None:
        path, moment = self.folder / file, next(self._changed_at)
        path.write_text(content)
        os.utime(path, (moment, moment))

    def outcomes(self, tests: Sequence[str]) -> dict[str, set[str]]:
        """How the cases of each test ended: "passed", "skipped", "failed", or "error" outside the test itself."""
        report = self.folder / "report.xml"
        report.unlink(missing_ok=True)
        options = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile", "unshrunk", f"--junitxml={report}"]
        # Dozens of starts of pytest: compiled code is kept even where the environment forbids it.
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": ""}
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.folder, env=environment, timeout=LONGEST_RUN_S, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
        return {test: {_outcome(case) for case in cases if _is_of(case, test)} for test in tests}


def _is_of(case: ElementTree.Element, test: str) -> bool:
    file, name = test.split("::")
    module = file.removesuffix(".py").replace("/", ".")
    is_one = str(case.get("name")) == name or str(case.get("name")).split("[")[0] == name
    return case.get("classname") == module and is_one


def _outcome(case: ElementTree.Element) -> str:
    tags = {child.tag: str(child.get("message")) for child in case}
    if "error" in tags or tags.get("failure", "").startswith("Failed: Timeout"):
        return "error"
    return "failed" if "failure" in tags else "skipped" if "skipped" in tags else "passed"


def verdict(outcomes: dict[str, set[str]]) -> str:
    """Whether every test failed, in a case at least, and by itself: one that was cut off alone proves nothing."""
    troubled = [test for test, ends in outcomes.items() if not ends or ("error" in ends and "failed" not in ends)]
    if troubled:
        return "BROKEN, could not be run: " + ", ".join(troubled)
    survived = [test for test, ends in outcomes.items() if "failed" not in ends]
    return "SURVIVED " + ", ".join(survived) if survived else "killed"


def examine(copy: Copy, mutation: Mutation) -> str:
    """The verdict on one mutation, which is undone afterwards."""
    copy.change(mutation.edits)
    try:
        return verdict(copy.outcomes(mutation.killers))
    finally:
        copy.restore(mutation.edits)


def main(wanted: str) -> int:
    """Examine all mutations whose name holds `wanted`."""
    console = Console()
    mutations = [mutation for mutation in MUTATIONS if wanted in mutation.name]
    tests = sorted({killer for mutation in mutations for killer in mutation.killers})
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder) / "tree")
        unfit = [test for test, ends in copy.outcomes(tests).items() if not {"passed"} <= ends <= {"passed", "skipped"}]
        if unfit:
            console.print("These fail, or skip, without any mutation:", *unfit, sep="\n  ")
            return 1
        table = Table("taken out", "verdict", "s")
        verdicts = []
        for mutation in mutations:
            started = time.monotonic()
            verdicts.append(examine(copy, mutation))
            table.add_row(mutation.name, verdicts[-1], f"{time.monotonic() - started:.0f}")
            print(f"{mutation.name}: {verdicts[-1]}", flush=True)
    console.print(table)
    return 0 if set(verdicts) == {"killed"} else 1


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
