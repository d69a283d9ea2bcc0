import io
from typing import Any

import pytest
from rich.console import Console

from actrobust.progress import LiveProgress, NotebookProgress, PlainProgress, Snapshot, duration, snapshot, total_line


def run(activation: str, rate: float, epoch: int | None, val_loss: float | None = None) -> dict[str, Any]:
    metrics = None if val_loss is None else {"val_loss": val_loss}
    return {"activation": activation, "rate": rate, "epoch": epoch, "metrics": metrics, "outcome": None}


def experiment(state: str = "running", **progress: Any) -> dict[str, Any]:
    numbers = {"runs_total": 4, "runs_finished": 1, "runs_failed": 0, "epochs_total": 40, "epochs_done": 10}
    return {"state": state, "spec": {"training": {"epochs": 10}}, "progress": {**numbers, "eta_s": 90.0, **progress}}


def moment(num_activations: int = 2) -> Snapshot:
    runs = [run(f"act{n}", rate, 5, 0.25 + rate) for n in range(num_activations) for rate in (0.0, 0.1)]
    return snapshot(experiment(), runs)


def test_a_bar_sums_the_epochs_of_its_runs_and_averages_their_losses() -> None:
    runs = [run("relu", 0.0, 10, 0.25), run("relu", 0.1, 4, 0.5), run("relu", 0.1, 2, 1.0), run("relu", 0.0, None)]
    (relu,) = snapshot(experiment(), runs).activations
    assert (relu.epochs_done, relu.epochs_total) == (16, 40)
    assert (relu.clean_loss, relu.dirty_loss) == (0.25, 0.75)


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    runs = [{**run("relu", 0.0, 3), "metrics": {"val_loss": None, "nonfinite": "nan"}, "outcome": "diverged"}]
    (relu,) = snapshot(experiment(), runs).activations
    assert relu.clean_loss is None
    assert relu.num_diverged == 1


def test_an_experiment_that_has_not_begun_has_bars_at_zero() -> None:
    now = snapshot({"state": "queued"}, [run("relu", 0.0, None)])
    assert total_line(now) == "queued · 0% · epochs 0/0 · runs 0/0"


def test_the_total_line_says_how_long_it_takes() -> None:
    assert total_line(moment()) == "running · 25% · epochs 10/40 · runs 1/4 · 1 min 30 s left"
    assert total_line(snapshot(experiment(runs_failed=2, eta_s=None), [])).endswith("runs 1/4 · 2 failed")


def test_what_was_not_trained_is_told() -> None:
    assert total_line(snapshot(experiment(runs_reused=1, eta_s=None), [])).endswith("runs 1/4 · 1 trained before")


def test_the_total_line_of_an_experiment_that_may_grow_says_how_far() -> None:
    spec = {"training": {"epochs": 10}, "num_seeds": 15, "until": {"ci_half_width": None, "max_seeds": 50}}
    said = total_line(snapshot({**experiment(), "spec": spec}, []))
    assert said.endswith("runs 1/4 · 15 of at most 50 seeds · 1 min 30 s left")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (90_000, "25 h 00 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def shown(now: Snapshot, *, width: int = 90, height: int = 30) -> list[str]:
    file = io.StringIO()
    console = Console(
        file=file, width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False
    )
    console.print(LiveProgress(console).render(now))
    return file.getvalue().splitlines()


def test_the_live_display_has_a_bar_an_activation_and_a_total() -> None:
    lines = shown(moment(3))
    assert len(lines) == 5
    assert "act1" in lines[2]
    assert "10/20" in lines[2]
    assert "0.2500" in lines[2]
    assert "0.3500" in lines[2]
    assert lines[-1].startswith("running · 25%")


def test_the_live_display_never_outgrows_the_terminal() -> None:
    for num_activations in (1, 19, 20, 21, 100):
        lines = shown(moment(num_activations), width=80, height=24)
        assert len(lines) < 24
        assert max(len(line) for line in lines) <= 80
        assert lines[-1].startswith("running")
    assert any("more activations" in line for line in lines)


def test_what_trains_is_shown_before_what_waits_or_is_done() -> None:
    runs = [run(f"done{n:02}", 0.0, 10) for n in range(30)] + [run("now", 0.0, 3), run("later", 0.0, None)]
    text = "\n".join(shown(snapshot(experiment(), runs), height=12))
    assert "now" in text
    assert "later" in text


def test_without_a_terminal_a_line_comes_now_and_then_and_at_every_change_of_state() -> None:
    lines: list[str] = []
    with PlainProgress(lines.append, interval_s=60) as display:
        for state in ("queued", "running", "running", "running", "succeeded"):
            display.update(snapshot(experiment(state), []))
    assert [line.split(" ")[0] for line in lines] == ["queued", "running", "succeeded"]
    often: list[str] = []
    with PlainProgress(often.append, interval_s=0) as display:
        display.update(moment())
        display.update(moment())
    assert len(often) == 2


def test_in_a_notebook_one_output_is_replaced_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            shown.append(bundle)

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        shown.append(bundle)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    with NotebookProgress() as progress:
        for state in ("queued", "running", "succeeded"):
            progress.note("<b>away</b>")
            progress.update(snapshot(experiment(state, eta_s=None), [run("relu <1>", 0.0, 5, 0.25)]))
    assert len(shown) == 3
    assert shown[-1]["text/plain"].splitlines()[-1] == "succeeded · 25% · epochs 10/40 · runs 1/4"
    assert "relu &lt;1&gt;" in shown[-1]["text/html"]
    assert "&lt;b&gt;away" in shown[-1]["text/html"]
    assert len(shown[-1]["text/html"]) < 5000
