import json
import os
import subprocess
import sys
from importlib.metadata import distribution, packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.files import ROOT, make_targets, pyproject, read

PROJECT = pyproject()["project"]
REQUIREMENTS = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]]


def pins() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def brought_by(requirements: list[Requirement]) -> set[str]:
    """Every distribution that pip installs for some requirements on this machine."""
    found: set[str] = set()
    todo = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found.add(name)
        todo += _needed_by(name, extra)
    return found


def _needed_by(name: str, extra: str) -> list[tuple[Requirement, str]]:
    needed = [Requirement(text) for text in distribution(name).requires or []]
    taken = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]
    for each in taken:
        each.marker = None  # it has been judged, with the extra that it may ask for
    return [(each, wanted) for each in taken for wanted in ("", *each.extras)]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_requirement_is_pinned_to_a_version_it_allows(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_no_pin_names_a_build_that_other_machines_cannot_find() -> None:
    assert [version for version in pins().values() if "+" in version] == []


def test_torch_and_torchvision_belong_together() -> None:
    assert (pins()["torch"], pins()["torchvision"]) == ("2.13.0", "0.28.0")


WITHOUT = """
import importlib, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent, wanted = map(json.loads, sys.argv[1:])
sys.meta_path.insert(0, Absent())
for name in wanted:
    importlib.import_module(name)
"""


def test_the_service_runs_without_what_only_the_developers_tools_bring() -> None:
    runtime = brought_by([Requirement(text) for text in PROJECT["dependencies"]]) | {"actrobust"}
    owners = packages_distributions().items()
    absent = [module for module, names in owners if not runtime & {canonicalize_name(name) for name in names}]
    assert "pytest" in absent
    wanted = [
        "actrobust.commands", "alembic.command", "api.app", "kombu.transport.redis", "shared.analysis.robustness",
        "shared.catalog.datasets.torchvision_sets", "sklearn.model_selection", "worker.app", "worker.training_job",
    ]  # fmt: skip
    arguments = [sys.executable, "-c", WITHOUT, json.dumps(absent), json.dumps(wanted)]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_make_offers_the_promised_targets() -> None:
    assert set(make_targets()) == {
        "help", "install", "demo", "test", "soak", "up", "check", "audit", "mutants", "bench", "load", "docs",
    }  # fmt: skip


def test_make_alone_lists_every_target_in_one_line() -> None:
    result = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in result.stdout.splitlines()] == make_targets()


def test_ci_runs_the_same_commands_as_people_do() -> None:
    script = read(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for command in ("make install", "make check", "make --no-print-directory test"):
        assert command in script
    assert "ACTROBUST_TEST_REQUIRE_SERVICES=1" in script
