"""Watching an experiment until its end, however often its service comes and goes."""

import json
import time
from collections.abc import Callable

import typer
from rich.console import Console

from actrobust.client import Json, ProblemError, ServiceUnreachableError
from actrobust.commands.comparison import print_comparison
from actrobust.commands.output import CommandError, say, table_console, write
from actrobust.commands.progress import LiveProgress, PlainProgress, Progress, Snapshot, snapshot
from actrobust.commands.service import Service

FINAL_STATES = {"succeeded", "failed", "cancelled"}
POLL_INTERVAL_S = 0.7
# A large experiment has many runs to list; watching it must stay a small part of what the service does.
POLL_SHARE = 0.1
PATIENCE_S = 120.0
RETRY_INTERVAL_S = 2.0
DETACHED_EXIT_CODE = 130


def follow(service: Service, experiment_id: str, *, as_json: bool) -> None:
    """Watch an experiment to its end and print what came of it.

    Raises:
        CommandError: it failed or was cancelled.
        typer.Exit: the person at the terminal detached.
    """
    try:
        experiment = _watch_to_the_end(service, experiment_id)
    except KeyboardInterrupt:
        _say_how_to_come_back(service, experiment_id)
        raise typer.Exit(DETACHED_EXIT_CODE) from None
    if experiment["state"] != "succeeded":
        raise CommandError(_what_went_wrong(service, experiment))
    answer = service.call(lambda client: client.robustness(experiment_id))
    if as_json:
        write(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print_comparison(answer, console=table_console(), name=experiment.get("name"))


def _watch_to_the_end(service: Service, experiment_id: str) -> Json:
    console = Console(stderr=True, highlight=False)
    display: Progress = LiveProgress(console) if console.is_terminal else PlainProgress(say)
    experiment, now = _look(service, experiment_id)
    with display:
        display.update(now)
        look_s = 0.0
        while experiment["state"] not in FINAL_STATES:
            time.sleep(max(POLL_INTERVAL_S, look_s / POLL_SHARE))
            started_s = time.monotonic()
            experiment, now = _patiently(lambda: _look(service, experiment_id), note=display.note)
            look_s = time.monotonic() - started_s
            display.update(now)
    return experiment


def _look(service: Service, experiment_id: str) -> tuple[Json, Snapshot]:
    experiment = service.call(lambda client: client.get_experiment(experiment_id))
    runs = service.call(lambda client: list(client.runs(experiment_id)))
    return experiment, snapshot(experiment, runs)


def _patiently(look: Callable[[], tuple[Json, Snapshot]], *, note: Callable[[str], None]) -> tuple[Json, Snapshot]:
    """Look again while the service is away: it may just be started anew."""
    deadline_s = time.monotonic() + PATIENCE_S
    noted = False
    while True:
        try:
            return look()
        except (ServiceUnreachableError, ProblemError) as error:
            is_passing = isinstance(error, ServiceUnreachableError) or error.status >= 500
            if not is_passing or time.monotonic() > deadline_s:
                raise
            if not noted:
                note(f"{error}\ntrying again for {PATIENCE_S:.0f} s")
            noted = True
            time.sleep(RETRY_INTERVAL_S)


def _say_how_to_come_back(service: Service, experiment_id: str) -> None:
    come_back = f"actrobust watch {experiment_id}{service.options}"
    if service.own:
        say(f"detached; training pauses, its checkpoints are being written. To go on: {come_back}")
    else:
        say(f"detached; the experiment goes on at {service.url}. To see it again: {come_back}")


def _what_went_wrong(service: Service, experiment: Json) -> str:
    come_back = f"{experiment['id']}{service.options}"
    error = experiment.get("error")
    if experiment["state"] == "cancelled":
        what = "the experiment was cancelled"
    else:
        what = f"the experiment failed: {error or 'no reason given'}"
    return f"{what}\n'actrobust robustness {come_back}' shows what is complete, 'actrobust resume {come_back}' goes on"
