"""What is trained while faults happen: tiny networks, long enough to be met in the middle."""

from collections.abc import Mapping
from typing import Any

from shared.spec import merge_patch
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION

EIGHT = ["relu", "tanh", "elu", "sigmoid", "softsign", "gelu", "silu", "leaky_relu"]

# Dropout and data drawn anew: training that goes on with other random numbers would show.
NOISY: Mapping[str, Any] = merge_patch(
    TINY_REGRESSION, {"architecture": {"dropout": 0.3}, "training": {"engine": "serial", "epochs": 20}}
)

SPECS: Mapping[str, Mapping[str, Any]] = {
    "short": merge_patch(NOISY, {"num_seeds": 1, "training": {"epochs": 5}}),
    "pair": merge_patch(NOISY, {"activations": ["relu", "tanh"]}),
    "eight": merge_patch(NOISY, {"activations": EIGHT, "num_seeds": 1, "training": {"epochs": 12}}),
    "labels": merge_patch(TINY_CLASSIFICATION, {"num_seeds": 2, "training": {"engine": "stacked", "epochs": 30}}),
    "compiled": merge_patch(NOISY, {"activations": ["prelu"], "training": {"engine": "auto", "epochs": 40}}),
}
