import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.store.checkpoints import CheckpointStore
from shared.store.queue import Lease
from shared.store.types import new_id

STATE = {
    "0.network.0.weight": torch.arange(6.0).reshape(2, 3),
    "double": torch.tensor([1 / 3, float("nan"), float("-inf")], dtype=torch.float64),
    "position": torch.tensor([3, 1]),
    "scalar": torch.tensor(7.0),
    "empty": torch.zeros(0, 18, dtype=torch.float64),
}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name].nan_to_num(7), second[name].nan_to_num(7))
        for name in first
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


@pytest.fixture
def lease() -> Lease:
    return Lease(new_id(), token=3)


def path_of(store: CheckpointStore, lease: Lease, pointer: dict[str, Any]) -> Path:
    path: Path = store.folder / lease.job_id / pointer["file"]
    return path


def save_two(store: CheckpointStore, lease: Lease) -> list[dict[str, Any]]:
    """Pointers, newest first, of two checkpoints that tell apart by `position`."""
    older = store.save(lease, {**STATE, "position": torch.tensor([1, 0])}, epoch=1, number=1)
    newer = store.save(lease, {**STATE, "position": torch.tensor([2, 0])}, epoch=2, number=2)
    return [newer, older]


def epochs_read(store: CheckpointStore, lease: Lease, pointers: list[dict[str, Any]]) -> list[int]:
    return [int(state["position"][0]) for state in store.load(lease.job_id, pointers)]


def test_a_checkpoint_comes_back_bit_by_bit(store: CheckpointStore, lease: Lease) -> None:
    pointer = store.save(lease, STATE, epoch=3, number=1)
    (state,) = store.load(lease.job_id, [pointer])
    assert equal(state, STATE)


def test_tensors_that_share_memory_or_are_views_are_kept_as_they_read(store: CheckpointStore, lease: Lease) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {"whole": base, "again": base, "column": base[:, 1], "turned": base.T}
    (loaded,) = store.load(lease.job_id, [store.save(lease, state, epoch=1, number=1)])
    assert equal(loaded, state)


def test_the_pointer_names_file_hash_and_epoch(store: CheckpointStore, lease: Lease) -> None:
    pointer = store.save(lease, STATE, epoch=3, number=12)
    content = path_of(store, lease, pointer).read_bytes()
    assert pointer == {
        "file": "000003-00000012.safetensors", "sha256": hashlib.sha256(content).hexdigest(), "epoch": 3,
    }  # fmt: skip


def test_the_token_in_the_name_keeps_an_old_owner_from_overwriting(store: CheckpointStore, lease: Lease) -> None:
    newer = store.save(Lease(lease.job_id, lease.token + 1), STATE, epoch=5, number=1)
    store.save(lease, {"position": torch.tensor([0, 0])}, epoch=1, number=1)
    (state,) = store.load(lease.job_id, [newer])
    assert equal(state, STATE)


def test_nothing_but_the_checkpoint_is_left_in_the_folder(store: CheckpointStore, lease: Lease) -> None:
    pointers = save_two(store, lease)
    names = {path.name for path in (store.folder / lease.job_id).iterdir()}
    assert names == {pointer["file"] for pointer in pointers}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0b0000_0100
    path.write_bytes(content)


def flip_a_bit_of_the_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[12] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    path.unlink()


def make_a_folder_of_it(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, empty, flip_a_bit, flip_a_bit_of_the_header, remove, make_a_folder_of_it]
every_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


@every_damage
def test_a_broken_checkpoint_falls_back_to_the_one_before(
    damage: Callable[[Path], None], store: CheckpointStore, lease: Lease
) -> None:
    pointers = save_two(store, lease)
    assert epochs_read(store, lease, pointers) == [2, 1]
    damage(path_of(store, lease, pointers[0]))
    assert epochs_read(store, lease, pointers) == [1]


@every_damage
def test_with_both_broken_there_is_nothing_to_go_on_from(
    damage: Callable[[Path], None], store: CheckpointStore, lease: Lease
) -> None:
    pointers = save_two(store, lease)
    for pointer in pointers:
        damage(path_of(store, lease, pointer))
    assert epochs_read(store, lease, pointers) == []


def test_files_that_the_database_does_not_point_at_are_removed(store: CheckpointStore, lease: Lease) -> None:
    pointers = save_two(store, lease)
    newest = store.save(lease, STATE, epoch=3, number=3)
    (store.folder / lease.job_id / "000003-00000004.tmp").touch()
    store.keep_only(lease.job_id, [newest, pointers[0]])
    names = {path.name for path in (store.folder / lease.job_id).iterdir()}
    assert names == {newest["file"], pointers[0]["file"]}


def test_all_checkpoints_of_a_job_can_be_removed_and_those_of_others_stay(store: CheckpointStore, lease: Lease) -> None:
    save_two(store, lease)
    other = Lease(new_id(), 1)
    pointers = save_two(store, other)
    for _ in range(2):
        store.remove(lease.job_id)
    assert [path.name for path in store.folder.iterdir()] == [other.job_id]
    assert epochs_read(store, other, pointers) == [2, 1]
    store.keep_only(lease.job_id, [])


def test_a_disk_that_takes_nothing_is_an_error_that_leaves_the_older_one_readable(
    store: CheckpointStore, lease: Lease
) -> None:
    pointers = save_two(store, lease)
    (store.folder / lease.job_id / "000003-00000003.tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        store.save(lease, STATE, epoch=3, number=3)
    assert epochs_read(store, lease, pointers) == [2, 1]


def test_half_a_checkpoint_does_not_keep_a_full_disk_full(
    store: CheckpointStore, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointers = save_two(store, lease)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.save(lease, STATE, epoch=3, number=3)
    assert {path.name for path in (store.folder / lease.job_id).iterdir()} == {each["file"] for each in pointers}
