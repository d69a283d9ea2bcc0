from pathlib import Path

import pytest

from tests.mutants.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_still_finds_its_text_and_its_tests(mutation: Mutation) -> None:
    for edit in mutation.edits:
        compile(edit.applied(ROOT), edit.file, "exec")
    for killer in mutation.killers:
        file, test = killer.split("::")
        assert f"def {test.split('[')[0]}(" in (ROOT / file).read_text()
