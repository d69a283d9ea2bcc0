"""Watching an experiment until its end, however often its service comes and goes."""

import json

import typer

from actrobust import following
from actrobust.client import Json
from actrobust.commands.comparison import print_comparison
from actrobust.commands.output import CommandError, say, table_console, write
from actrobust.commands.service import Service
from actrobust.progress import Snapshot, best_display, snapshot

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
    return following.follow(lambda: _look(service, experiment_id), best_display())


def _look(service: Service, experiment_id: str) -> tuple[Json, Snapshot]:
    experiment = service.call(lambda client: client.get_experiment(experiment_id))
    runs = service.call(lambda client: list(client.runs(experiment_id)))
    return experiment, snapshot(experiment, runs)


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
