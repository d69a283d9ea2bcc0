from pathlib import Path

import pytest
import torch

from shared.errors import UnfitWorkerError
from shared.training.engine import build_population, decide_numerics
from shared.training.population import Member
from tests.shared.specs import tiny


def test_numerics_name_everything_that_the_last_digits_depend_on() -> None:
    numerics = decide_numerics(tiny(training={"device": "cpu", "precision": "float64"}))
    assert numerics["engine"] == "serial"
    assert numerics["device"] == "cpu"
    assert numerics["precision"] == "float64"
    assert numerics["threads"] == torch.get_num_threads()
    assert numerics["torch"] == torch.__version__
    assert numerics["device_name"]


@pytest.mark.parametrize("engine", ["serial", "stacked"])
def test_a_spec_may_name_its_engine(engine: str) -> None:
    assert decide_numerics(tiny(training={"engine": engine}))["engine"] == engine


def test_numerics_are_decided_alike_for_equal_specs() -> None:
    assert decide_numerics(tiny()) == decide_numerics(tiny())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_says_so_and_takes_what_any_worker_may() -> None:
    with pytest.raises(UnfitWorkerError, match="GPU"):
        decide_numerics(tiny(training={"device": "cuda"}))
    with pytest.raises(UnfitWorkerError, match="GPU"):
        decide_numerics(tiny(training={"device": "auto"}), worker_device="cuda")
    assert decide_numerics(tiny(training={"device": "auto"}))["device"] == "cpu"
    assert decide_numerics(tiny(training={"device": "cpu"}), worker_device="cuda")["device"] == "cpu"


def test_an_engine_of_another_version_is_named() -> None:
    spec = tiny()
    with pytest.raises(ValueError, match="'quantum'"):
        build_population(
            spec,
            spec.activations[0],
            [Member(0.0, 0)],
            numerics={**decide_numerics(spec), "engine": "quantum"},
            datasets_dir=Path("nowhere"),
        )
