"""`actrobust run`, `watch`, `list`, `cancel`, `resume`."""

import json
import uuid
from itertools import islice
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from actrobust.client import Json
from actrobust.commands.output import say, table_console, write
from actrobust.commands.service import DataDirOption, Service, UrlOption, open_service
from actrobust.commands.spec_source import read_document
from actrobust.commands.watching import follow

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The experiment.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Write the final comparison as JSON to stdout; progress goes to stderr.")
]
WatchOption = Annotated[bool, typer.Option(help="Show progress until the end.")]


def run(  # noqa: PLR0913 (one parameter an option)
    source: Annotated[str, typer.Argument(metavar="PRESET|SPEC.json|-", help="Preset, JSON file, or stdin.")],
    *,
    watch: WatchOption = True,
    as_json: JsonOption = False,
    name: Annotated[str | None, typer.Option(help="Override the spec's name.")] = None,
    num_seeds: Annotated[int | None, typer.Option(help="Override the number of seeds.")] = None,
    base_seed: Annotated[int | None, typer.Option(help="Override the base seed.")] = None,
    reuse: Annotated[
        bool | None, typer.Option(help="Take over what was trained before, or train it again.", show_default="reuse")
    ] = None,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Post an experiment, watch it, and print the comparison.

    Uses the service named by --url or ACTROBUST_URL, else the one that runs on
    the data directory, else starts one for the duration of the command. Ctrl-C
    detaches and says how to come back.

    Examples:

        actrobust run harrison-multivariate

        actrobust run spec.json --num-seeds 3 --json > comparison.json

        echo '{"dataset": {"kind": "fbm"}}' | actrobust run -
    """
    overrides = {"name": name, "num_seeds": num_seeds, "base_seed": base_seed, "reuse": reuse}
    document = {**read_document(source), **{key: value for key, value in overrides.items() if value is not None}}
    key = str(uuid.uuid4())
    with open_service(url=url, data_dir=data_dir, train=watch) as service:
        experiment = service.call(lambda client: client.create_experiment(document, idempotency_key=key))
        experiment_id = str(experiment["id"])
        say(f"experiment {experiment_id} on {service.url}")
        if watch:
            follow(service, experiment_id, as_json=as_json)
        else:
            _posted_only(service, experiment, as_json=as_json)


def _posted_only(service: Service, experiment: Json, *, as_json: bool) -> None:
    write(json.dumps(experiment, indent=2, ensure_ascii=False) if as_json else str(experiment["id"]))
    if service.own:
        say(
            f"it waits until a service runs: 'actrobust watch {experiment['id']}{service.options}' or 'actrobust serve'"
        )


def watch(
    experiment_id: IdArgument, *, as_json: JsonOption = False, url: UrlOption = None, data_dir: DataDirOption = None
) -> None:
    """Show an experiment's progress until its end, then the comparison.

    Ctrl-C detaches.

    Example:

        actrobust watch 0199c2f0-...
    """
    with open_service(url=url, data_dir=data_dir, train=True) as service:
        follow(service, experiment_id, as_json=as_json)


def list_experiments(
    *,
    state: Annotated[list[str] | None, typer.Option(help="Only these states; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(help="Most experiments to show.", min=1)] = 50,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """List experiments, the newest first.

    Example:

        actrobust list --state running --state queued
    """
    with open_service(url=url, data_dir=data_dir) as service:
        found = service.call(
            lambda client: list(islice(client.list_experiments(page_size=min(limit, 1000), state=state), limit))
        )
    if not found:
        say("no experiments yet; 'actrobust run harrison-multivariate' starts one")
        return
    console = table_console()
    console.print(_listing(found))
    if len(found) == limit:
        say(f"only the newest {limit}; --limit shows more")


def cancel(experiment_id: IdArgument, *, url: UrlOption = None, data_dir: DataDirOption = None) -> None:
    """Cancel an experiment; what it has measured stays.

    Example:

        actrobust cancel 0199c2f0-...
    """
    with open_service(url=url, data_dir=data_dir) as service:
        experiment = service.call(lambda client: client.cancel(experiment_id))
    write(f"{experiment_id} is {experiment.get('state', 'cancelling')}")


def resume(
    experiment_id: IdArgument,
    *,
    watch: WatchOption = True,
    as_json: JsonOption = False,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Go on with a failed or cancelled experiment, and watch it.

    Unfinished training starts from its checkpoints.

    Example:

        actrobust resume 0199c2f0-...
    """
    with open_service(url=url, data_dir=data_dir, train=watch) as service:
        experiment = service.call(lambda client: client.resume(experiment_id))
        if watch:
            follow(service, experiment_id, as_json=as_json)
        else:
            _posted_only(service, experiment, as_json=as_json)


def _listing(experiments: list[Json]) -> Table:
    table = Table(box=box.SIMPLE, show_edge=False)
    for heading in ("id", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("created", no_wrap=True)
    table.add_column("name", overflow="fold", ratio=1)
    for experiment in experiments:
        progress = experiment.get("progress") or {}
        epochs = f"{progress.get('epochs_done', 0)}/{progress.get('epochs_total', 0)}" if progress else "-"
        created = str(experiment.get("created_at") or "")[:16].replace("T", " ")
        cells = (str(experiment["id"]), str(experiment["state"]), epochs, created, str(experiment.get("name") or ""))
        table.add_row(*(Text(cell) for cell in cells))
    return table
