"""How far an experiment is: as a live display in a terminal, as a line now and then elsewhere."""

import io
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from actrobust.client import Json

PLAIN_INTERVAL_S = 10.0
BAR_WIDTH = 24
NOTEBOOK_WIDTH, NOTEBOOK_HEIGHT = 90, 40
# The total, the header, and the line below on which the cursor stands.
LINES_BESIDE_BARS = 4


@dataclass(frozen=True)
class ActivationProgress:
    """One bar: the epochs of all runs of an activation, and the mean losses where they stand now."""

    label: str
    epochs_done: int
    epochs_total: int
    clean_loss: float | None
    dirty_loss: float | None
    num_diverged: int


@dataclass(frozen=True)
class Snapshot:
    """An experiment at one moment; one with a precision target may grow up to `max_seeds`."""

    state: str
    activations: tuple[ActivationProgress, ...]
    epochs_done: int
    epochs_total: int
    runs_finished: int
    runs_failed: int
    runs_reused: int
    runs_total: int
    eta_s: float | None
    num_seeds: int = 0
    max_seeds: int | None = None


def snapshot(experiment: "Json", runs: "Iterable[Json]") -> Snapshot:
    """Put the service's answers together; bars keep the order in which the runs are listed."""
    by_label: dict[str, list[Any]] = {}
    for run in runs:
        by_label.setdefault(str(run["activation"]), []).append(run)
    spec, progress = experiment.get("spec") or {}, experiment.get("progress") or {}
    epochs = int((spec.get("training") or {}).get("epochs") or 0)
    return Snapshot(
        state=str(experiment["state"]),
        activations=tuple(_activation(label, group, epochs) for label, group in by_label.items()),
        epochs_done=int(progress.get("epochs_done") or 0),
        epochs_total=int(progress.get("epochs_total") or 0),
        runs_finished=int(progress.get("runs_finished") or 0),
        runs_failed=int(progress.get("runs_failed") or 0),
        runs_reused=int(progress.get("runs_reused") or 0),
        runs_total=int(progress.get("runs_total") or 0),
        eta_s=progress.get("eta_s"),
        num_seeds=int(spec.get("num_seeds") or 0),
        max_seeds=(spec.get("until") or {}).get("max_seeds"),
    )


def _activation(label: str, runs: "list[Json]", epochs: int) -> ActivationProgress:
    return ActivationProgress(
        label=label,
        epochs_done=sum(int(run.get("epoch") or 0) for run in runs),
        epochs_total=epochs * len(runs),
        clean_loss=_mean_loss(run for run in runs if not run["rate"]),
        dirty_loss=_mean_loss(run for run in runs if run["rate"]),
        num_diverged=sum(run.get("outcome") == "diverged" for run in runs),
    )


def _mean_loss(runs: "Iterable[Json]") -> float | None:
    values = [(run.get("metrics") or {}).get("val_loss") for run in runs]
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None


class LiveProgress(AbstractContextManager["LiveProgress"]):
    """A display that is redrawn in place: the total, then one bar an activation."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def update(self, now: Snapshot) -> None:
        """Show this moment."""
        self._live.update(self.render(now))

    def note(self, text: str) -> None:
        """Write a line above the display."""
        self._live.console.print(escape(text))

    def render(self, now: Snapshot) -> RenderableType:
        """What is drawn for this moment; never higher than the terminal."""
        return drawing(now, width=self._console.width, height=self._console.height)


class PlainProgress(AbstractContextManager["PlainProgress"]):
    """A line at most every few seconds, and one whenever the state changes."""

    def __init__(self, write: Callable[[str], None], *, interval_s: float = PLAIN_INTERVAL_S) -> None:
        self._write = write
        self._interval_s = interval_s
        self._last_s = float("-inf")
        self._state = ""

    def __exit__(self, *error: object) -> None:
        """Nothing has to be put back."""

    def update(self, now: Snapshot) -> None:
        """Write a line if it is time for one."""
        if now.state == self._state and time.monotonic() - self._last_s < self._interval_s:
            return
        self._last_s, self._state = time.monotonic(), now.state
        self._write(total_line(now))

    def note(self, text: str) -> None:
        """Write a line."""
        self._write(text)


class NotebookProgress(AbstractContextManager["NotebookProgress"]):
    """One output of a cell that is replaced each time: a notebook that is kept shows the last moment only.

    Rich's own display wants ipywidgets, and prints line after line where a notebook is executed without them.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._note = ""

    def __exit__(self, *error: object) -> None:
        """The last moment stays."""

    def update(self, now: Snapshot) -> None:
        """Show this moment."""
        from IPython.display import display

        said = f"{self._note}\n{total_line(now)}".strip()
        bundle = {"text/plain": said, "text/html": _as_html(now, self._note)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def note(self, text: str) -> None:
        """Say something above the bars from the next moment on."""
        self._note = text


Progress = LiveProgress | PlainProgress | NotebookProgress


def best_display() -> Progress:
    """Bars in a terminal or a notebook, else lines on stderr."""
    console = Console(stderr=True, highlight=False)
    if console.is_jupyter:
        return NotebookProgress()
    return LiveProgress(console) if console.is_terminal else PlainProgress(_to_stderr)


def no_display() -> Progress:
    """Shows nothing."""
    return PlainProgress(lambda _: None)


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _as_html(now: Snapshot, note: str) -> str:
    console = Console(
        file=io.StringIO(), record=True, force_jupyter=False, force_terminal=True, color_system="truecolor",
        width=NOTEBOOK_WIDTH, legacy_windows=False,
    )  # fmt: skip
    if note:
        console.print(Text(note, style="yellow"))
    console.print(drawing(now, width=NOTEBOOK_WIDTH, height=NOTEBOOK_HEIGHT))
    return console.export_html(inline_styles=True, code_format='<pre style="line-height:1.2">{code}</pre>')


def drawing(now: Snapshot, *, width: int, height: int) -> RenderableType:
    """A bar an activation, as many as there is room for, and the total."""
    shown = most_interesting(now.activations, max(height - LINES_BESIDE_BARS, 1))
    parts: list[RenderableType] = [_bars(shown, width)]
    hidden = len(now.activations) - len(shown)
    if hidden:
        parts.append(Text(f"and {hidden} more activations", style="dim"))
    return Group(*parts, _total(now))


def most_interesting(activations: tuple[ActivationProgress, ...], room: int) -> list[ActivationProgress]:
    """The activations to show where not all fit: those in training first, then the waiting, then the finished."""
    if len(activations) <= room:
        return list(activations)

    def interest(activation: ActivationProgress) -> int:
        if activation.epochs_done == 0:
            return 1
        return 0 if activation.epochs_done < activation.epochs_total else 2

    chosen = {id(activation) for activation in sorted(activations, key=interest)[: max(room - 1, 1)]}
    return [activation for activation in activations if id(activation) in chosen]


def _bars(activations: list[ActivationProgress], width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    table.add_column("activation", no_wrap=True, max_width=max(width - BAR_WIDTH - 40, 12))
    table.add_column("")
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("clean loss", justify="right", no_wrap=True)
    table.add_column("dirty loss", justify="right", no_wrap=True)
    for activation in activations:
        total, done = max(activation.epochs_total, 1), activation.epochs_done
        label = Text(activation.label)
        if activation.num_diverged:
            label.append(f" {activation.num_diverged} diverged", style="red")
        table.add_row(
            label,
            ProgressBar(total=total, completed=done, width=BAR_WIDTH),
            f"{done}/{activation.epochs_total}",
            _loss(activation.clean_loss),
            _loss(activation.dirty_loss),
        )
    return table


def _total(now: Snapshot) -> Text:
    return Text(total_line(now), style="bold", no_wrap=True, overflow="ellipsis")


def total_line(now: Snapshot) -> str:
    """Everything in one line."""
    share = now.epochs_done / now.epochs_total if now.epochs_total else 0.0
    parts = [
        now.state,
        f"{share:.0%}",
        f"epochs {now.epochs_done}/{now.epochs_total}",
        f"runs {now.runs_finished}/{now.runs_total}",
    ]
    if now.runs_reused:
        parts.append(f"{now.runs_reused} trained before")
    if now.max_seeds is not None:
        parts.append(f"{now.num_seeds} of at most {now.max_seeds} seeds")
    if now.runs_failed:
        parts.append(f"{now.runs_failed} failed")
    if now.eta_s is not None and now.state in {"queued", "running"}:
        parts.append(f"{duration(now.eta_s)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _loss(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"
