"""Every change is tested with these faults on PostgreSQL and Redis; `make soak` runs all of them."""

from collections.abc import Iterator
from random import Random

import pytest

from tests.faults.cases import Case
from tests.faults.reference import undisturbed
from tests.faults.stack import Kind, Stack
from tests.faults.stories import cases

SEED = 2

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(Kind.POSTGRES, tmp_path_factory.mktemp("postgres")) as stack:
        undisturbed(stack, "eight")
        yield stack


@pytest.mark.parametrize("case", [
    pytest.param(case, id=case.name, marks=[] if Kind.POSTGRES in case.always_on else pytest.mark.soak)
    for case in cases(Kind.POSTGRES)
])  # fmt: skip
def test_the_invariants_hold_and(case: Case, stack: Stack) -> None:
    case(stack, Random(SEED))
