import re
from typing import Any

import nbformat
import pytest

from docs import make_notebook

FEW = {"STUDY_NUM_SEEDS": "2", "STUDY_EPOCHS": "2"}
LARGEST_BYTES = 300_000


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_runs_from_top_to_bottom() -> None:
    notebook = make_notebook.executed(FEW)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = "\n".join(str(output) for cell in cells for output in cell.outputs)
    assert "runs 28/28" in shown
    assert shown.count("image/svg+xml") == 3
    # Progress is one output a run, however long it takes, and nothing is written beside it.
    assert [output for cell in cells for output in cell.outputs if output.output_type in {"stream", "error"}] == []
    assert shown.count("runs 0/") == 0


@pytest.fixture(scope="module")
def kept() -> Any:
    return nbformat.read(make_notebook.NOTEBOOK, as_version=4)


def test_the_notebook_that_is_kept_has_run_in_order_and_shows_results(kept: Any) -> None:
    nbformat.validate(kept)
    cells = code_cells(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = "\n".join(str(output) for cell in cells for output in cell.outputs)
    assert "runs 70/70" in shown
    assert shown.count("image/svg+xml") == 3
    assert "verdict" in shown


def test_the_notebook_that_is_kept_tells_nothing_of_the_machine_and_is_small(kept: Any) -> None:
    text = make_notebook.NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < LARGEST_BYTES
    assert re.findall(r"/(?:home|root|tmp|work|Users|usr|opt)/[\w.-]+", text) == []
    assert re.findall(r"0x[0-9a-f]{8,}|127\.0\.0\.1:(?!8000)\d+", text) == []
    assert all("execution" not in cell.metadata for cell in kept.cells)
