"""What is trained while faults happen: tiny networks, long enough to be met in the middle."""

from collections.abc import Mapping
from typing import Any

from shared.spec import merge_patch
from tests.shared.specs import TINY_CLASSIFICATION, TINY_REGRESSION

EIGHT = ("relu", "tanh", "elu", "sigmoid", "softsign", "gelu", "silu", "leaky_relu")
NUM_EPOCHS = 12

# Dropout and data drawn anew: training that goes on with other random numbers would show.
NOISY: Mapping[str, Any] = merge_patch(
    TINY_REGRESSION,
    {
        "architecture": {"dropout": 0.3},
        "activations": list(EIGHT),
        "training": {"engine": "serial", "epochs": NUM_EPOCHS},
        "num_seeds": 1,
        "reuse": False,
    },
)

SPECS: Mapping[str, Mapping[str, Any]] = {
    "eight": NOISY,
    "pair": merge_patch(NOISY, {"activations": ["relu", "tanh"]}),
    "one": merge_patch(NOISY, {"activations": ["relu"]}),
    "short": merge_patch(NOISY, {"activations": ["relu"], "training": {"epochs": 3}}),
    "long": merge_patch(NOISY, {"training": {"epochs": 24}}),
    "long pair": merge_patch(NOISY, {"activations": ["gelu", "silu"], "training": {"epochs": 24}}),
    "labels": merge_patch(
        TINY_CLASSIFICATION, {"num_seeds": 2, "reuse": False, "training": {"engine": "stacked", "epochs": 30}}
    ),
    "compiled": merge_patch(NOISY, {"activations": ["prelu"], "training": {"engine": "auto", "epochs": 40}}),
}
# A network's metrics depend neither on what else is compared nor on how many epochs follow: these hold those of others.
REFERENCES: Mapping[str, str] = {"pair": "eight", "one": "eight", "short": "eight", "long pair": "long"}
