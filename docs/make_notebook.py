"""`python -m docs.make_notebook`: run docs/study.ipynb from top to bottom and keep what it shows."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("study.ipynb")
TIMEOUT_S = 600


def executed(settings: Mapping[str, str]) -> Any:
    """The notebook with fresh outputs, made by a kernel with these environment variables and an empty data directory.

    Raises: nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    foreign = {name for name in os.environ if name.startswith(("ACTROBUST_", "STUDY_"))}
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    with tempfile.TemporaryDirectory(prefix="actrobust-study-") as folder:
        # Times of execution are nobody's business: they would change with each run.
        client = NotebookClient(notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False)
        client.execute(env={**inherited, "STUDY_DATA_DIR": folder, **settings})
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return notebook


def main() -> None:
    """Run it as it stands, and write it back."""
    nbformat.write(executed({}), NOTEBOOK)


if __name__ == "__main__":
    main()
