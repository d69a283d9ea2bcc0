"""`actrobust robustness`: the comparison of one experiment."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from actrobust.commands.comparison import print_comparison, to_csv
from actrobust.commands.output import table_console, write
from actrobust.commands.service import DataDirOption, UrlOption, open_service


class Format(StrEnum):
    """How the comparison is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Metric(StrEnum):
    """What is compared."""

    LOSS = "loss"
    ACCURACY = "accuracy"


def robustness(  # noqa: PLR0913 (one parameter an option)
    experiment_id: Annotated[str, typer.Argument(metavar="ID", help="The experiment.")],
    *,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How to write it.")] = Format.TABLE,
    metric: Annotated[Metric | None, typer.Option(help="What to compare.", show_default="the spec's")] = None,
    score: Annotated[str | None, typer.Option(help="final, best, last5 or epoch:N.", show_default="the spec's")] = None,
    rate: Annotated[float | None, typer.Option(help="Only this share of dirty rows.", show_default="all")] = None,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show which activation suffers most from dirty data, with intervals.

    Examples:

        actrobust robustness 0199c2f0-...

        actrobust robustness 0199c2f0-... --metric accuracy --format csv > comparison.csv
    """
    with open_service(url=url, data_dir=data_dir) as service:
        query = {"metric": metric.value if metric else None, "score": score, "rate": rate}
        answer = service.call(lambda client: client.robustness(experiment_id, **query))
        if format_ is Format.JSON:
            write(json.dumps(answer, indent=2, ensure_ascii=False))
        elif format_ is Format.CSV:
            write(to_csv(answer).rstrip("\n"))
        else:
            experiment = service.call(lambda client: client.get_experiment(experiment_id))
            print_comparison(answer, console=table_console(), name=experiment.get("name"))
