"""actrobust: which activation function survives dirty training data?"""

from actrobust.chart import Chart
from actrobust.client import Client
from actrobust.embedding import EmbeddedClient, embedded
from actrobust.errors import (
    ClientError,
    ExperimentFailedError,
    MissingPackageError,
    ProblemError,
    ServiceStartError,
    ServiceUnreachableError,
    WaitTimeoutError,
)
from actrobust.experiment import Experiment

__all__ = [
    "Chart",
    "Client",
    "ClientError",
    "EmbeddedClient",
    "Experiment",
    "ExperimentFailedError",
    "MissingPackageError",
    "ProblemError",
    "ServiceStartError",
    "ServiceUnreachableError",
    "WaitTimeoutError",
    "embedded",
]
