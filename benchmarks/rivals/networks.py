"""The study's two networks, written out as someone would who needs only these: linear layers with their bias."""

from itertools import pairwise

from torch import Tensor, nn

from shared.catalog.activations import Activation
from shared.catalog.architectures import HarrisonCnn, Mlp
from shared.spec import ExperimentSpec


class MlpNetwork(nn.Module):
    """Linear, batch norm, activation for each hidden layer, then linear."""

    def __init__(self, widths: list[int], activation: Activation) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_in, num_out in pairwise(widths[:-1]):
            layers += [nn.Linear(num_in, num_out), nn.BatchNorm1d(num_out), activation.build()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs.squeeze(-1)


class CnnNetwork(nn.Module):
    """The study's convolutional network for images of 64 x 64."""

    def __init__(self, activation: Activation, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 10, 5, stride=2), nn.BatchNorm2d(10), activation.build(), nn.MaxPool2d(2),
            nn.Conv2d(10, 16, 5, padding=2), nn.BatchNorm2d(16), activation.build(), nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), activation.build(), nn.Flatten(),
            nn.Linear(1176, 512), nn.BatchNorm1d(512), activation.build(),
            nn.Linear(512, 128), nn.BatchNorm1d(128), activation.build(),
            nn.Linear(128, num_classes),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs


def build_network(spec: ExperimentSpec, activation: Activation) -> nn.Module:
    """The network of a spec, with torch's own initial weights."""
    architecture = spec.architecture
    if isinstance(architecture, Mlp):
        assert architecture.batch_norm
        assert architecture.dropout == 0
        (num_inputs,) = spec.dataset.input_shape
        return MlpNetwork([num_inputs, *architecture.hidden, spec.num_outputs], activation)
    assert isinstance(architecture, HarrisonCnn)
    assert architecture.dropout == 0
    assert spec.dataset.input_shape == (1, 64, 64)
    return CnnNetwork(activation, spec.num_outputs)


def build_criterion(spec: ExperimentSpec) -> nn.Module:
    """The mean loss of a batch."""
    criteria: dict[str, type[nn.Module]] = {"mse": nn.MSELoss, "cross_entropy": nn.CrossEntropyLoss}
    return criteria[spec.training.loss]()
