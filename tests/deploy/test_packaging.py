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


def test_the_service_imports_nothing_that_only_the_developers_tools_bring() -> None:
    modules = "api.app", "worker.app", "worker.training_job", "actrobust.commands", "kombu.transport.redis"
    script = (
        f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    owners = packages_distributions()
    imported = {canonicalize_name(owners[module][0]) for module in json.loads(printed) if module in owners}
    runtime = brought_by([Requirement(text) for text in PROJECT["dependencies"]])
    assert imported - runtime <= {"actrobust", "setuptools"}


def test_make_offers_the_promised_targets() -> None:
    assert set(make_targets()) == {"help", "install", "demo", "test", "up", "check", "bench"}


def test_make_alone_lists_every_target_in_one_line() -> None:
    result = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in result.stdout.splitlines()] == make_targets()


def test_ci_runs_the_same_commands_as_people_do() -> None:
    script = read(".ci/run")
    assert os.access(ROOT / ".ci/run", os.X_OK)
    for command in ("make install", "make check", "make --no-print-directory test"):
        assert command in script
    assert "ACTROBUST_TEST_REQUIRE_SERVICES=1" in script
