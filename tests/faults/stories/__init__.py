"""All stories, by what the fault befalls."""

from tests.faults.cases import CASES, Case
from tests.faults.stack import Kind
from tests.faults.stories import brokers, databases, files, requests, workers  # noqa: F401 (each registers its own)


def cases(kind: Kind) -> list[Case]:
    """Those that make sense on a kind of stack."""
    return [known for known in CASES if kind in known.kinds]
