"""Training and validation rows as tensors, ready to be sliced into batches.

Shape letters: N rows, B batch, H W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.catalog.corruptions import TrainingSet, corrupt
from shared.catalog.datasets import Dataset, ImageTransform
from shared.catalog.layers import cost, rows_evaluated_at_once
from shared.catalog.losses import LOSSES, null_accuracy
from shared.spec import ExperimentSpec
from shared.training.population import Member, MemberFacts

# Of weights, inputs and targets; with bfloat16 only the operands of products are rounded.
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


@dataclass(frozen=True)
class CorruptedRows:
    """The training rows whose target dirt has changed: what the network sees, the wrong and the true target."""

    inputs: Tensor
    targets: Tensor
    true_targets: Tensor


@dataclass(frozen=True)
class MemberData:
    """Everything one network trains on and is judged by; members of a seed share what does not differ.

    `rows_at_once` of them are evaluated together.
    """

    train_inputs: Tensor
    train_targets: Tensor
    val_inputs: Tensor
    val_targets: Tensor
    corrupted: CorruptedRows | None
    prepare: "Preparation"
    rows_at_once: int
    facts: MemberFacts


class Preparation:
    """Turns stored rows into a network's input: cast, and for images scaled and resized bilinearly."""

    def __init__(
        self, transform: ImageTransform | None, *, stored_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.dtype = dtype
        self.scale, self.offset = (1.0, 0.0) if transform is None else (transform.scale, transform.offset)
        self.resize_HW: Tensor | None = None
        self.is_image = transform is not None
        if transform is not None and transform.size != stored_size:
            self.resize_HW = bilinear_matrix(stored_size, transform.size).to(device, dtype)

    def __call__(self, rows: Tensor) -> Tensor:
        """The network's input for stored rows: (B, F), or (B, 1, size, size) from (B, H, W)."""
        inputs = rows.to(self.dtype)
        if not self.is_image:
            return inputs
        if self.scale != 1:
            inputs = inputs * self.scale
        if self.offset != 0:
            inputs = inputs + self.offset
        if self.resize_HW is not None:
            # Bilinear resizing is linear in rows and in columns: two small matrix products beat interpolation.
            inputs = self.resize_HW @ (inputs @ self.resize_HW.T)
        return inputs.unsqueeze(1)


def bilinear_matrix(size_in: int, size_out: int) -> Tensor:
    """The (size_out, size_in) matrix that resizes one axis as `interpolate(mode="bilinear")` does, in float64."""
    identity_11HW = torch.eye(size_in, dtype=torch.float64).reshape(1, 1, size_in, size_in)
    resized = torch.nn.functional.interpolate(identity_11HW, size=(size_out, size_in), mode="bilinear")
    return resized.reshape(size_out, size_in)


def load_members(
    spec: ExperimentSpec, members: list[Member], *, datasets_dir: Path, device: torch.device
) -> Iterator[MemberData]:
    """The data of each member; arrays that do not differ between members are held once."""
    datasets: dict[int, Dataset] = {}
    tensors = _SharedTensors(device, DTYPES[spec.training.precision])
    for member in members:
        key = spec.dataset.seed_of_data(member.seed)
        if key not in datasets:
            datasets[key] = spec.dataset.load(base_seed=spec.base_seed, seed=member.seed, datasets_dir=datasets_dir)
        yield _member_data(spec, member, datasets[key], tensors)


def _member_data(spec: ExperimentSpec, member: Member, dataset: Dataset, tensors: "_SharedTensors") -> MemberData:
    rows = corrupt(dataset, spec.corruption, member.rate, base_seed=spec.base_seed, seed=member.seed)
    is_classification = dataset.num_classes is not None
    facts = MemberFacts(
        null_loss=LOSSES[spec.training.loss](kind=spec.training.loss).null_score(dataset.val_targets),
        null_accuracy=null_accuracy(dataset.val_targets) if is_classification else None,
        realised_rate=rows.realised_rate,
        mask_hash=rows.mask_hash,
    )
    prepare = Preparation(
        dataset.transform, stored_size=dataset.train_inputs.shape[-1], dtype=tensors.dtype, device=tensors.device
    )
    return MemberData(
        tensors.of(rows.inputs), tensors.of(rows.targets),
        tensors.of(dataset.val_inputs), tensors.of(dataset.val_targets),
        _corrupted_rows(rows, tensors), prepare, _rows_at_once(spec), facts,
    )  # fmt: skip


def _rows_at_once(spec: ExperimentSpec) -> int:
    layers = spec.architecture.layers(spec.dataset.input_shape, spec.num_outputs)
    return rows_evaluated_at_once(cost(layers, spec.dataset.input_shape))


def _corrupted_rows(rows: TrainingSet, tensors: "_SharedTensors") -> CorruptedRows | None:
    changed = rows.rows[rows.targets[rows.rows] != rows.true_targets[rows.rows]]
    if len(changed) == 0:
        return None
    parts = (rows.inputs[changed], rows.targets[changed], rows.true_targets[changed])
    return CorruptedRows(*(tensors.convert(part) for part in parts))


class _SharedTensors:
    """One tensor for each array, however many members hold the array."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        # The array is kept beside its tensor: an id may be given again once its object is gone.
        self._made: dict[int, tuple[NDArray[Any], Tensor]] = {}

    def of(self, array: NDArray[Any]) -> Tensor:
        if id(array) not in self._made:
            self._made[id(array)] = (array, self.convert(array))
        return self._made[id(array)][1]

    def convert(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)


def batch_bounds(num_rows: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last-plus-one row of each batch of an epoch; a last batch of one row joins the batch before it."""
    starts = list(range(0, num_rows, batch_size))
    if len(starts) > 1 and batch_size > 1 and num_rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], num_rows], strict=True))
