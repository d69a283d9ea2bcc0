"""Named specs: complete requests that a client may send as `{"preset": name}` and override field by field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STUDY = "Harrison, On the robustness of activation functions"
STUDY_ACTIVATIONS = ("relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign")


@dataclass(frozen=True)
class Preset:
    """A named spec; what it leaves out comes from its data set's defaults."""

    name: str
    title: str
    description: str
    source: str
    spec: Mapping[str, Any]


def _adam(weight_decay: float) -> dict[str, Any]:
    # The study decayed every parameter, PReLU's slopes included.
    return {"kind": "adam", "lr": 0.001, "betas": [0.9, 0.999], "weight_decay": weight_decay, "decay_activations": True}


def _mnist(*, dropout: float, weight_decay: float) -> dict[str, Any]:
    return {
        "dataset": {"kind": "mnist", "train_size": 31_500, "val_size": 10_500, "image_size": 64, "pixels": "0-255"},
        "corruption": {"kind": "symmetric", "rates": [0.1], "exclusive": True},
        "architecture": {"kind": "harrison_cnn", "dropout": dropout},
        "activations": list(STUDY_ACTIVATIONS),
        "training": {
            "epochs": 25,
            "batch_size": 128,
            "loss": "cross_entropy",
            "optimizer": _adam(weight_decay),
            "schedule": {"kind": "step", "step_size": 2, "gamma": 0.7},
        },
    }


_ALL = (
    Preset(
        name="harrison-multivariate",
        title="The study's multivariate setting",
        description=(
            "5,000 training rows of ten hidden functions, a 10-128-64-1 network with batch norm, 20 epochs of Adam; "
            "dirt is N(0, 0.5) on every input and the target of 10 % of the rows. About a minute on two cores."
        ),
        source=STUDY,
        spec={
            "dataset": {"kind": "fbm", "num_columns": 10, "train_size": 5000, "val_size": 2000},
            "corruption": {"kind": "gaussian", "rates": [0.1], "sd": 0.5, "on": "inputs_and_target"},
            "architecture": {"kind": "mlp", "hidden": [128, 64], "batch_norm": True, "dropout": 0.0},
            "activations": list(STUDY_ACTIVATIONS),
            "training": {"epochs": 20, "batch_size": 64, "loss": "mse", "optimizer": _adam(1e-10)},
        },
    ),
    Preset(
        name="harrison-mnist",
        title="The study's MNIST setting",
        description=(
            "31,500 digits resized to 64 x 64, the study's convolutional network, 25 epochs of Adam with a stepped "
            "learning rate; dirt is a wrong label on 10 % of the training images. About 40 minutes a seed on two cores."
        ),
        source=STUDY,
        spec=_mnist(dropout=0.0, weight_decay=1e-10),
    ),
    Preset(
        name="harrison-mnist-regularized",
        title="The study's MNIST setting with dropout and weight decay",
        description="As harrison-mnist, with dropout 0.25 and weight decay 1e-5.",
        source=STUDY,
        spec=_mnist(dropout=0.25, weight_decay=1e-5),
    ),
)

PRESETS = {preset.name: preset for preset in _ALL}
