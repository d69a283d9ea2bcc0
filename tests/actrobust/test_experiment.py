"""The handle, against a tiny HTTP server and against a real embedded service."""

import builtins
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import actrobust
from actrobust import Client, EmbeddedClient, ExperimentFailedError, MissingPackageError, WaitTimeoutError, following
from actrobust.commands.supervisor import own_environment
from tests.actrobust.conftest import Reply, TinyService
from tests.actrobust.test_commands import EXPERIMENT_ID, Experiment
from tests.actrobust.test_comparison import ACTIVATION, answer

SMALL: dict[str, Any] = {
    "dataset": {"train_size": 200, "val_size": 100}, "activations": ["relu", "tanh"], "training": {"epochs": 2},
}  # fmt: skip


@pytest.fixture
def client(tiny_service: TinyService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr(following, "POLL_INTERVAL_S", 0.01)
    with Client(tiny_service.url) as client:
        yield client


def test_run_posts_waits_and_returns_the_handle(
    tiny_service: TinyService, client: Client, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_service.answer = Experiment("queued", "running", "running", "succeeded")
    experiment = client.run("harrison-multivariate", num_seeds=5, training={"epochs": 3})
    assert (experiment.id, experiment.name, experiment.state) == (EXPERIMENT_ID, "tonight", "succeeded")
    assert tiny_service.requests[0].document == {
        "preset": "harrison-multivariate", "num_seeds": 5, "training": {"epochs": 3},
    }  # fmt: skip
    said = capfd.readouterr()
    assert [line.split(" ")[0] for line in said.err.splitlines()] == ["running", "succeeded"]
    assert said.out == ""
    assert experiment.robustness() == answer(ACTIVATION)


def test_start_does_not_wait(tiny_service: TinyService, client: Client) -> None:
    tiny_service.answer = Experiment("queued", "running")
    experiment = client.start(dataset="fbm")
    assert experiment.state == "queued"
    assert not experiment.finished
    assert len(tiny_service.requests) == 1
    assert experiment.refresh().state == "running"


@pytest.mark.parametrize(("state", "said"), [("failed", "failed: the disk is full"), ("cancelled", "was cancelled")])
def test_an_experiment_without_a_result_is_an_error_that_carries_the_handle(
    tiny_service: TinyService, client: Client, state: str, said: str
) -> None:
    tiny_service.answer = Experiment("running", state, error="the disk is full")
    with pytest.raises(ExperimentFailedError, match=said) as caught:
        client.run("aa-check", progress=False)
    assert caught.value.experiment.state == state
    assert caught.value.experiment.wait(progress=False).id == EXPERIMENT_ID, "waiting for its end is no error"


def test_waiting_has_an_end_and_the_experiment_goes_on(tiny_service: TinyService, client: Client) -> None:
    tiny_service.answer = Experiment("running")
    with pytest.raises(WaitTimeoutError, match=r"is running after 0\.05 s; the experiment goes on") as caught:
        client.run("aa-check", timeout_s=0.05, progress=False)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.experiment.id == EXPERIMENT_ID


def test_a_service_that_is_away_for_a_moment_is_waited_for(
    tiny_service: TinyService, client: Client, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, "RETRY_INTERVAL_S", 0.01)
    steps = Experiment("running", "running", "succeeded")
    tiny_service.answer = lambda request: (
        Reply({"title": "Bad Gateway"}, status=502) if len(tiny_service.requests) in {5, 6} else steps(request)
    )
    assert client.run("aa-check").state == "succeeded"
    assert capfd.readouterr().err.count("trying again") == 1


def test_ctrl_c_leaves_the_experiment_alone_and_says_how_to_go_on(tiny_service: TinyService) -> None:
    tiny_service.answer = Experiment("running")
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import actrobust; actrobust.Client(sys.argv[1]).run('aa-check')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tiny_service.url],
        stderr=subprocess.PIPE, text=True, env={**os.environ, **own_environment()},
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline().startswith("running")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=30)
    assert f'client.experiment("{EXPERIMENT_ID}").wait() waits again' in rest
    assert not any(request.path.endswith("/cancel") for request in tiny_service.requests)


def test_without_pandas_it_is_said_what_to_install(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    really_import = builtins.__import__

    def no_pandas(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return really_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_pandas)
    experiment = actrobust.Experiment(client, {"id": EXPERIMENT_ID, "state": "succeeded"})
    with pytest.raises(MissingPackageError, match=r"pip install 'actrobust\[pandas\]'"):
        experiment.to_pandas()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClient]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ACTROBUST_") and "_TEST_" not in name]:
            patch.delenv(name)
        # An address for others must not lead away from the service that was asked for.
        patch.setenv("ACTROBUST_URL", "http://127.0.0.1:9")
        with actrobust.embedded(tmp_path_factory.mktemp("embedded") / "data") as client:
            yield client


@pytest.fixture(scope="module")
def finished(embedded: EmbeddedClient) -> actrobust.Experiment:
    return embedded.run("harrison-multivariate", **SMALL, num_seeds=5, corruption={"rates": [0.2, 0.1]})


def test_an_embedded_service_trains_and_answers(finished: actrobust.Experiment) -> None:
    assert finished.state == "succeeded"
    assert finished.spec["training"]["epochs"] == 2
    assert finished.progress["runs_finished"] == 2 * 3 * 5
    assert len(list(finished.metrics(epoch_from=2))) == 30


def test_the_ranking_is_a_tidy_table(finished: actrobust.Experiment) -> None:
    ranking = finished.to_pandas()
    assert list(ranking.columns[:3]) == ["rate", "rank", "activation"]
    assert list(zip(ranking["rate"], ranking["rank"], strict=True)) == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    of_tanh = next(a for a in finished.robustness()["activations"] if a["activation"] == "tanh")
    row = ranking[(ranking["activation"] == "tanh") & (ranking["rate"] == 0.2)].iloc[0]
    [condition] = [condition for condition in of_tanh["conditions"] if condition["rate"] == 0.2]
    assert row["degradation_mean"] == condition["degradation"]["mean"]
    assert row["degradation_ci_low"] < row["degradation_mean"] < row["degradation_ci_high"]
    assert row["verdict"] == condition["verdict"]


def test_every_table_has_a_row_an_observation(finished: actrobust.Experiment) -> None:
    assert len(finished.to_pandas("pairs", rate=0.1)) == 2 + 1
    assert len(finished.to_pandas("curves")) == 2 * 2 * 2
    assert len(finished.to_pandas("scores", rate=0.2)) == 2 * 5
    assert len(finished.to_pandas("runs", activation="relu")) == 15
    metrics = finished.to_pandas("metrics", rate=[0.0, 0.1], activation="relu")
    assert len(metrics) == 2 * 5 * 2
    by_hand = {(row["run_id"], row["epoch"]): row["val_loss"] for row in finished.metrics(activation="relu")}
    assert all(by_hand[row.run_id, row.epoch] == row.val_loss for row in metrics.itertuples())
    with pytest.raises(ValueError, match="there is no table 'nonsense'; there are curves, metrics, pairs"):
        finished.to_pandas("nonsense")  # type: ignore[arg-type]


def test_a_chart_shows_itself_in_a_notebook_and_is_saved(finished: actrobust.Experiment, tmp_path: Path) -> None:
    chart = finished.chart("forest", rate=0.1)
    shown = chart._repr_mimebundle_()
    assert shown["image/svg+xml"].startswith("<svg")
    assert shown["text/plain"] == f"<Chart 'forest' of {finished.id}>"
    assert chart.save(tmp_path / "forest.svg").read_text() == shown["image/svg+xml"]
    assert chart.save(str(tmp_path / "forest.png")).read_bytes().startswith(b"\x89PNG")
    assert '"$schema"' in chart.save(tmp_path / "forest.json").read_text()
    with pytest.raises(ValueError, match=r"'forest\.gif' must end in one of \.svg, \.png, \.json"):
        chart.save(tmp_path / "forest.gif")


def test_an_experiment_is_cancelled_resumed_and_deleted(embedded: EmbeddedClient) -> None:
    experiment = embedded.start("harrison-multivariate", activations=["relu"], training={"epochs": 2000}, num_seeds=1)
    assert experiment.cancel().state in {"cancelling", "cancelled"}
    assert experiment.wait(progress=False).state == "cancelled"
    assert embedded.experiment(experiment.id).resume().state == "queued"
    experiment.cancel()
    experiment.wait(progress=False).delete()
    with pytest.raises(actrobust.ProblemError) as caught:
        experiment.refresh()
    assert caught.value.status == 404


def test_a_second_client_joins_the_service_and_leaves_it_running(embedded: EmbeddedClient) -> None:
    assert embedded.data_dir is not None
    with actrobust.embedded(embedded.data_dir) as second:
        assert second.base_url == embedded.base_url
    assert embedded.healthz() == {"status": "ok"}


def test_an_embedded_service_ends_with_its_client_and_keeps_what_it_found(tmp_path: Path) -> None:
    with actrobust.embedded(tmp_path / "data") as client:
        url = client.base_url
        experiment_id = client.start("aa-check").cancel().id
    with pytest.raises(actrobust.ServiceUnreachableError), Client(url) as gone:
        gone.healthz()
    with actrobust.embedded(tmp_path / "data") as client:
        assert client.experiment(experiment_id).id == experiment_id


def test_an_embedded_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(actrobust.ServiceStartError, match="cannot be used"):
        actrobust.embedded(tmp_path / "file")


def test_an_embedded_service_is_not_started_from_a_thread_that_ends(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            actrobust.embedded(tmp_path)
        except actrobust.ServiceStartError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])
