"""Cells: everything that decides what a run will measure, as one name.

Of runs that share a cell one is trained, and the others may take over its results.
"""

import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path

from shared.plan import PlannedRun
from shared.spec import ExperimentSpec

# What numbers come from, beside the spec. Their code is read, so that a change of it is noticed without a new version.
SOURCES = ("seeds.py", "catalog/**/*.py", "training/*.py", "training/native/*")
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn")
IN_COMMON = {"dataset", "architecture", "training", "base_seed"}


class Cells:
    """Names the cells of one owner's experiment.

    Part of a cell are data, corruption, architecture, activation, training with its device class, seeds, code version
    and owner. Not part of it are names, labels, and how results are compared. A clean run's cell knows no corruption.
    """

    def __init__(self, spec: ExperimentSpec, *, owner: str) -> None:
        common = spec.model_dump(mode="json", include=IN_COMMON)
        self._common = _digest({"owner": owner, "code": code_version(), **common})
        self._activations = {
            each.name: _digest(each.model_dump(mode="json", exclude={"label"})) for each in spec.activations
        }
        self._corruption = _digest(spec.corruption.model_dump(mode="json", exclude={"rates"}))

    def of(self, run: PlannedRun) -> str:
        """The cell of a run, 64 hexadecimal digits."""
        corruption = self._corruption if run.rate > 0 else None
        parts = (self._common, self._activations[run.activation], corruption, run.rate, run.seed)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def _digest(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@cache
def code_version() -> str:
    """A name of the code that trains, and of the libraries beneath it."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for file in sorted(found for pattern in SOURCES for found in here.glob(pattern) if found.is_file()):
        digest.update(f"{file.relative_to(here).as_posix()}\n".encode() + file.read_bytes())
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    return digest.hexdigest()
