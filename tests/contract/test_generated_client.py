"""What openapi-python-client makes of the OpenAPI document is a client that runs an experiment."""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from api.app import create_app
from shared.settings import Settings
from tests.e2e.services import command, environment, url_printed_by

PACKAGE = "actrobust_generated"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a freshly generated package that can be imported; the generator had nothing to complain about."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(create_app(Settings(_env_file=None)).openapi()))
    (folder / "config.json").write_text(json.dumps({"package_name_override": PACKAGE, "post_hooks": []}))
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config", "config.json",
         "--meta", "none", "--output-path", PACKAGE, "--fail-on-warning"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield PACKAGE
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    log = folder / "stderr.log"
    with command("serve", "--port", "0", env=environment(folder / "data"), log=log) as serving:
        yield url_printed_by(serving, log)


@pytest.fixture
def client(generated: str, url: str) -> Iterator[Any]:
    # 'AuthenticatedClient' is what the endpoints ask for; a service without keys does not mind a token.
    made = importlib.import_module(generated).AuthenticatedClient(
        base_url=url, token="none", raise_on_unexpected_status=True, httpx_args={"trust_env": False}
    )
    with made:
        yield made


@pytest.fixture
def endpoint(generated: str) -> Any:
    """Finds the module of an operation."""

    def find(tag: str, operation: str) -> ModuleType:
        return importlib.import_module(f"{generated}.api.{tag}.{operation}")

    return find


def test_every_operation_has_its_function(endpoint: Any) -> None:
    document = create_app(Settings(_env_file=None)).openapi()
    for item in document["paths"].values():
        for operation in item.values():
            assert callable(endpoint(operation["tags"][0], operation["operationId"]).sync_detailed)


def test_the_generated_client_runs_an_experiment_and_reads_its_comparison(
    generated: str, client: Any, endpoint: Any
) -> None:
    models = importlib.import_module(f"{generated}.models")
    request = models.ExperimentRequest(
        preset=models.PresetName.HARRISON_MULTIVARIATE,
        dataset=models.FbmRequest(train_size=200, val_size=100),
        activations=["relu", models.LeakyReLURequest(negative_slope=0.2)],
        training=models.TrainingRequest(epochs=2, optimizer=models.AdamRequest(lr=0.002)),
        num_seeds=5,
    )
    posted = endpoint("experiments", "create_experiment").sync(client=client, body=request, idempotency_key="once")
    assert isinstance(posted, models.Experiment)
    assert isinstance(posted.spec.dataset, models.Fbm)
    assert posted.spec.training.optimizer.to_dict() == {
        "kind": "adam", "lr": 0.002, "betas": [0.9, 0.999], "weight_decay": 1e-10, "decay_activations": True,
    }, "what was not set is the preset's, not the generator's idea of a default"  # fmt: skip
    deadline = time.monotonic() + 90
    while posted.state not in {"succeeded", "failed", "cancelled"} and time.monotonic() < deadline:
        time.sleep(0.3)
        posted = endpoint("experiments", "get_experiment").sync(posted.id, client=client)
    assert posted.state == models.ExperimentState.SUCCEEDED

    found = endpoint("results", "get_robustness").sync(
        posted.id, client=client, include=[models.GetRobustnessIncludeItem.PAIRS]
    )
    assert isinstance(found, models.Robustness)
    assert [each.activation for each in found.activations] == ["relu", "leaky_relu(negative_slope=0.2)"]
    assert found.activations[0].conditions[0].degradation.n == 5
    assert len(found.pairs) == 2
    rows = endpoint("results", "list_metrics").sync(posted.id, client=client, activation=["relu"], epoch_from=2)
    assert len(rows.items) == 10
    picture = endpoint("results", "get_robustness_chart").sync_detailed(posted.id, client=client)
    assert picture.content.startswith(b"<svg")


def test_what_the_service_refuses_comes_back_as_a_problem(generated: str, client: Any, endpoint: Any) -> None:
    models = importlib.import_module(f"{generated}.models")
    answer = endpoint("experiments", "create_experiment").sync(
        client=client, body=models.ExperimentRequest(num_seeds=0)
    )
    assert isinstance(answer, models.Problem)
    assert answer.errors[0].pointer == "/num_seeds"
