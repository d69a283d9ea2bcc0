"""Named specs: complete requests that a client may send as `{"preset": name}` and override field by field."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import Any

STUDY = "Harrison, On the robustness of activation functions"
AS_RUN = f"{STUDY}, as its published notebooks computed it"
GLOROT = "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"
STUDY_ACTIVATIONS = ("relu", "leaky_relu", "prelu", "elu", "sigmoid", "tanh", "softsign")
GAUSSIAN = {"kind": "gaussian", "rates": [0.1], "sd": 0.5, "on": "inputs_and_target"}
SYMMETRIC = {"kind": "symmetric", "rates": [0.1], "exclusive": True}
SWEEP = {"rates": [0.05, 0.1, 0.2, 0.4, 0.6, 0.8]}


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


def _fbm(*, corruption: Mapping[str, Any] = GAUSSIAN, **dataset: Any) -> dict[str, Any]:
    return {
        "dataset": {"kind": "fbm", "num_columns": 10, "train_size": 5000, "val_size": 2000, **dataset},
        "corruption": corruption,
        "architecture": {"kind": "mlp", "hidden": [128, 64], "batch_norm": True, "dropout": 0.0},
        "activations": list(STUDY_ACTIVATIONS),
        "training": {"epochs": 20, "batch_size": 64, "loss": "mse", "optimizer": _adam(1e-10)},
    }


def _mnist(
    *, weight_decay: float = 1e-10, corruption: Mapping[str, Any] = SYMMETRIC, **architecture: Any
) -> dict[str, Any]:
    return {
        "dataset": {"kind": "mnist", "train_size": 31_500, "val_size": 10_500, "image_size": 64, "pixels": "0-255"},
        "corruption": corruption,
        "architecture": {"kind": "harrison_cnn", "dropout": 0.0, **architecture},
        "activations": list(STUDY_ACTIVATIONS),
        "training": {
            "epochs": 25,
            "batch_size": 128,
            "loss": "cross_entropy",
            "optimizer": _adam(weight_decay),
            "schedule": {"kind": "step", "step_size": 2, "gamma": 0.7},
        },
    }


def _glorot(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "corruption": SYMMETRIC,
        "architecture": {"kind": "mlp", "hidden": [1000] * 5, "batch_norm": False, "init": "glorot_normalized"},
        "activations": ["sigmoid", "tanh", "softsign"],
        "training": {
            "epochs": 20,
            "batch_size": 10,
            "loss": "cross_entropy",
            "optimizer": {"kind": "sgd", "lr": 0.01},
            "schedule": {"kind": "constant"},
        },
    }


_GLOROT_FACTS = (
    "Five hidden layers of 1,000 units without batch norm, biases 0, plain SGD on minibatches of 10; a tenth of the "
    "labels is wrong. Override 'architecture.init' with glorot_standard to compare. The paper chose the learning rate "
    "on the validation error: try others."
)

_ALL = (
    Preset(
        name="harrison-multivariate",
        title="The study's multivariate setting",
        description=(
            "5,000 training rows of ten hidden functions, a 10-128-64-1 network with batch norm, 20 epochs of Adam; "
            "dirt is N(0, 0.5) on every input and the target of 10 % of the rows. About ten seconds on two cores."
        ),
        source=STUDY,
        spec=_fbm(),
    ),
    Preset(
        name="harrison-multivariate-as-run",
        title="The study's multivariate setting, as run",
        description=(
            "As harrison-multivariate, but the dirty training rows are split off independently of the clean ones: five "
            "sevenths of the validation rows, nine in ten of them unaltered, are trained on. The notebooks ran one "
            "seed, and printed the MSE divided by 62.5."
        ),
        source=AS_RUN,
        spec=_fbm(dirty_split="independent"),
    ),
    Preset(
        name="harrison-mnist",
        title="The study's MNIST setting",
        description=(
            "31,500 digits resized to 64 x 64, the study's convolutional network, 25 epochs of Adam with a stepped "
            "learning rate; dirt is a wrong label on 10 % of the training images. About 20 minutes a seed on two cores."
        ),
        source=STUDY,
        spec=_mnist(),
    ),
    Preset(
        name="harrison-mnist-regularized",
        title="The study's MNIST setting with dropout and weight decay",
        description="As harrison-mnist, with dropout 0.25 and weight decay 1e-5.",
        source=STUDY,
        spec=_mnist(dropout=0.25, weight_decay=1e-5),
    ),
    Preset(
        name="harrison-mnist-as-run",
        title="The study's MNIST setting, as run",
        description=(
            "As harrison-mnist-regularized, but without the last layer: the loss takes the 128 activated features for "
            "logits, so that cross-entropy cannot fall below 3.87 for sigmoid and 2.90 for tanh and softsign. Each "
            "label is wrong with probability 0.1. The notebooks ran one seed."
        ),
        source=AS_RUN,
        spec=_mnist(dropout=0.25, weight_decay=1e-5, output_layer=False, corruption={**SYMMETRIC, "exact": False}),
    ),
    Preset(
        name="glorot-shapeset",
        title="Glorot and Bengio's Shapeset-3x2, with dirt",
        description=f"10,000 pictures of one or two shapes; about 7 hours of one core. {_GLOROT_FACTS}",
        source=GLOROT,
        spec=_glorot({"kind": "shapeset", "train_size": 10_000, "val_size": 5000}),
    ),
    Preset(
        name="glorot-mnist",
        title="Glorot and Bengio's MNIST, with dirt",
        description=f"50,000 digits, pixels of 0 to 1; about 35 hours of one core. {_GLOROT_FACTS}",
        source=GLOROT,
        spec=_glorot({"kind": "mnist", "train_size": 50_000, "val_size": 10_000, "image_size": 28, "pixels": "0-1"}),
    ),
    Preset(
        name="fbm-learnable",
        title="The study's generator where it can be learned",
        description=(
            "As harrison-multivariate on the domain of -pi to pi: sin and cos run through one cycle instead of 280, "
            "so that a network can come close to an error of zero on clean data."
        ),
        source=STUDY,
        # The domain ends at 7,000 / 2 steps of 0.25.
        spec=_fbm(frequency=pi / 875),
    ),
    Preset(
        name="fbm-sweep",
        title="The study's multivariate setting at six rates",
        description="As harrison-multivariate at rates of 0.05 to 0.8: harm over dirt, and where learning breaks.",
        source=STUDY,
        spec=_fbm(corruption={**GAUSSIAN, **SWEEP}),
    ),
    Preset(
        name="mnist-sweep",
        title="The study's MNIST setting at six rates",
        description="As harrison-mnist at rates of 0.05 to 0.8. Three and a half times as long as harrison-mnist.",
        source=STUDY,
        spec=_mnist(corruption={**SYMMETRIC, **SWEEP}),
    ),
    Preset(
        name="aa-check",
        title="Clean against clean",
        description=(
            "As harrison-multivariate, with a second clean arm of independent seeds in the dirty one's place: every "
            "difference that is found is chance. The rate is a name only."
        ),
        source=STUDY,
        spec=_fbm(corruption={"kind": "none", "rates": [0.1], "pairing": "independent"}),
    ),
)

PRESETS = {preset.name: preset for preset in _ALL}
