"""Every change is tested with these faults on SQLite and the embedded broker; `make soak` runs all of them."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.faults.cases import Case
from tests.faults.reference import undisturbed
from tests.faults.stack import Kind, Stack
from tests.faults.stories import cases

SEED = 38


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(Kind.SQLITE, tmp_path_factory.mktemp("sqlite")) as stack:
        undisturbed(stack, "eight")
        yield stack


@pytest.mark.parametrize("case", [
    pytest.param(case, id=case.name, marks=[] if Kind.SQLITE in case.always_on else pytest.mark.soak)
    for case in cases(Kind.SQLITE)
])  # fmt: skip
def test_the_invariants_hold_and(case: Case, stack: Stack) -> None:
    case(stack, Random(SEED))
