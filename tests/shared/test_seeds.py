import hashlib
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.seeds import NO_SEED, numpy_stream, stream_seed, torch_stream


def test_a_stream_starts_at_the_hash_of_its_names() -> None:
    digest = hashlib.sha256(b"7/3/batch_order/12").digest()
    assert stream_seed(7, 3, "batch_order", 12) == int.from_bytes(digest[:8], "big") >> 1


@pytest.mark.parametrize(
    ("names", "pinned"),
    [
        ((0, 0, "weights", 0), 8393701924390568751),
        ((0, 3, "batch_order", 1), 717445728321704966),
        ((0, NO_SEED, "split"), 6182624855950187341),
    ],
)
def test_streams_stay_what_they_were_when_results_were_published(
    names: tuple[int, int, str] | tuple[int, int, str, int], pinned: int
) -> None:
    assert stream_seed(*names) == pinned


def test_a_numpy_stream_draws_what_it_drew_before() -> None:
    assert numpy_stream(0, 0, "corruption_rows").permutation(8).tolist() == [3, 6, 1, 5, 7, 2, 4, 0]


def test_a_torch_stream_draws_what_it_drew_before() -> None:
    drawn = torch.rand(3, generator=torch_stream(0, 0, "weights", 0), dtype=torch.float64)
    assert drawn.tolist() == [0.4281038406123412, 0.48998039543576466, 0.7443614412884938]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**53 - 1), st.integers(-1, 1000), st.sampled_from("abc"), st.integers(0, 10**6)),
        min_size=2,
        max_size=20,
        unique=True,
    )
)
def test_different_names_never_share_a_start(names: list[tuple[int, int, str, int]]) -> None:
    assert len({stream_seed(*name) for name in names}) == len(names)


def test_numbers_do_not_run_together_in_a_name() -> None:
    assert stream_seed(1, 23, "x") != stream_seed(12, 3, "x")
    assert stream_seed(1, 2, "x", 34) != stream_seed(1, 2, "x", 3, 4)


def test_drawing_more_from_one_stream_leaves_the_others_as_they_were() -> None:
    before = numpy_stream(0, 1, "corruption_targets").normal(size=5)
    numpy_stream(0, 1, "corruption_inputs").normal(size=1000)
    torch.rand(1000, generator=torch_stream(0, 1, "weights", 0))
    assert np.array_equal(numpy_stream(0, 1, "corruption_targets").normal(size=5), before)


def test_streams_neither_read_nor_disturb_the_global_generators() -> None:
    def draws() -> list[float]:
        return [
            numpy_stream(0, 1, "fbm_shuffle").normal(),
            torch.rand(1, generator=torch_stream(0, 1, "weights", 0)).item(),
        ]

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    first, untouched = draws(), (torch.rand(1).item(), np.random.random(), random.random())
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert (torch.rand(1).item(), np.random.random(), random.random()) == untouched
    assert draws() == first


def test_seeds_fit_every_generator_that_takes_one() -> None:
    seeds = [stream_seed(0, seed, "weights") for seed in range(100)]
    assert all(0 <= seed < 2**63 for seed in seeds)
