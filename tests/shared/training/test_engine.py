from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import UnfitWorkerError
from shared.spec import ExperimentSpec, resolve
from shared.training.engine import Engines
from shared.training.population import Member
from shared.training.toolchain import Toolchain
from tests.shared.specs import TINY_CLASSIFICATION, tiny
from tests.shared.training.populations import ENGINES, all_members, needs_compiler

STUDY = resolve({"preset": "harrison-multivariate", "activations": ["tanh"]})
CONVOLUTIONS = tiny(
    TINY_CLASSIFICATION, architecture={"kind": "harrison_cnn"}, dataset={"image_size": 28}, training={"epochs": 1}
)


def engines(folder: Path, **options: Any) -> Engines:
    return Engines(toolchain=Toolchain(folder), datasets_dir=Path("nowhere"), **options)


def decided(spec: ExperimentSpec, *, on: Engines = ENGINES) -> dict[str, Any]:
    return on.decide(spec, spec.activations[0], all_members(spec))


@pytest.fixture
def without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engines:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return engines(tmp_path)


@needs_compiler
def test_numerics_name_everything_that_the_last_digits_depend_on() -> None:
    numerics = decided(tiny(training={"device": "cpu", "precision": "float64", "engine": "compiled"}))
    assert numerics["engine"] == "compiled"
    assert numerics["device"] == "cpu"
    assert numerics["precision"] == "float64"
    assert numerics["threads"] == torch.get_num_threads()
    assert numerics["torch"] == torch.__version__
    assert numerics["device_name"]
    assert numerics["compiler"]


@pytest.mark.parametrize("engine", ["serial", "stacked", pytest.param("compiled", marks=needs_compiler)])
def test_a_spec_may_name_its_engine(engine: str) -> None:
    assert decided(tiny(training={"engine": engine}))["engine"] == engine


def test_numerics_are_decided_alike_for_equal_specs(tmp_path: Path) -> None:
    assert decided(tiny(), on=engines(tmp_path)) == decided(tiny(), on=engines(tmp_path))


@needs_compiler
def test_networks_that_fit_no_cache_are_left_to_pytorch_unless_asked_otherwise() -> None:
    wide = {"preset": "glorot-shapeset", "activations": ["tanh"]}
    assert decided(resolve({**wide, "training": {"engine": "compiled"}}))["engine"] == "compiled"
    assert decided(resolve(wide))["engine"] == "serial", "though the code is there"


@needs_compiler
def test_an_experiment_that_takes_a_while_is_compiled_unasked_and_a_small_one_where_the_code_is_there_already(
    tmp_path: Path,
) -> None:
    here, spec = engines(tmp_path), tiny(activations=["tanh"])
    assert decided(spec, on=here)["engine"] == "serial"
    assert not list(tmp_path.iterdir())
    assert decided(STUDY, on=here)["engine"] == "compiled"
    assert decided(spec, on=here)["engine"] == "compiled"


def test_without_a_compiler_networks_are_stacked_and_convolutions_trained_one_by_one(
    without_a_compiler: Engines,
) -> None:
    assert decided(STUDY, on=without_a_compiler)["engine"] == "stacked"
    assert decided(tiny(training={"engine": "compiled"}), on=without_a_compiler)["engine"] == "serial"
    assert decided(CONVOLUTIONS, on=without_a_compiler)["engine"] == "serial"


def test_a_compiler_that_fails_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "false")
    assert decided(STUDY, on=engines(tmp_path))["engine"] == "stacked"
    assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}


def test_what_has_no_compiled_form_is_stacked() -> None:
    random = resolve({"preset": "harrison-multivariate", "activations": ["rrelu"]})
    assert decided(random)["engine"] == "stacked"


def test_a_job_that_began_compiled_says_what_a_worker_without_a_compiler_lacks(without_a_compiler: Engines) -> None:
    spec = tiny()
    numerics = {**decided(spec, on=without_a_compiler), "engine": "compiled"}
    with pytest.raises(UnfitWorkerError, match=r"no C\+\+ compiler"):
        without_a_compiler.build(spec, spec.activations[0], [Member(0.0, 0)], numerics)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_says_so_and_takes_what_any_worker_may(tmp_path: Path) -> None:
    meant_for_a_gpu = engines(tmp_path, worker_device="cuda")
    with pytest.raises(UnfitWorkerError, match="GPU"):
        decided(tiny(training={"device": "cuda"}))
    with pytest.raises(UnfitWorkerError, match="GPU"):
        decided(tiny(training={"device": "auto"}), on=meant_for_a_gpu)
    assert decided(tiny(training={"device": "auto"}))["device"] == "cpu"
    assert decided(tiny(training={"device": "cpu"}), on=meant_for_a_gpu)["device"] == "cpu"


def test_an_engine_of_another_version_is_named() -> None:
    spec = tiny()
    with pytest.raises(UnfitWorkerError, match="'quantum'"):
        ENGINES.build(spec, spec.activations[0], [Member(0.0, 0)], {**decided(spec), "engine": "quantum"})
