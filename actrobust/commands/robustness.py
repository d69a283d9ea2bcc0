"""`actrobust robustness`: the comparison of one experiment."""

import io
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from actrobust.commands.comparison import print_comparison, to_csv
from actrobust.commands.output import CommandError, table_console
from actrobust.commands.service import DataDirOption, UrlOption, open_service


class Format(StrEnum):
    """How the comparison is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    SVG = "svg"
    PNG = "png"


class View(StrEnum):
    """What a picture shows."""

    DEGRADATION = "degradation"
    CURVES = "curves"
    SWEEP = "sweep"
    PAIRS = "pairs"
    FOREST = "forest"


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
    view: Annotated[View, typer.Option(help="Which picture, with --format svg or png.")] = View.DEGRADATION,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.", show_default="stdout")] = None,
    url: UrlOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show which activation suffers most from dirty data, with intervals.

    Examples:

        actrobust robustness 0199c2f0-...

        actrobust robustness 0199c2f0-... --metric accuracy --format csv > comparison.csv

        actrobust robustness 0199c2f0-... --format svg --view forest -o forest.svg
    """
    if format_ is Format.PNG and output is None and sys.stdout.isatty():
        raise CommandError("a terminal shows no pixels; name a file with --output, or redirect stdout")
    query: dict[str, Any] = {"metric": metric.value if metric else None, "score": score, "rate": rate}
    with open_service(url=url, data_dir=data_dir) as service:
        if format_ in {Format.SVG, Format.PNG}:
            picture = {"view": view.value, "file_format": format_.value}
            _write(service.call(lambda client: client.chart(experiment_id, **picture, **query)), output)
            return
        answer = service.call(lambda client: client.robustness(experiment_id, **query))
        if format_ is Format.TABLE and output is None:
            experiment = service.call(lambda client: client.get_experiment(experiment_id))
            print_comparison(answer, console=table_console(), name=experiment.get("name"))
            return
    _write(_as_text(answer, format_).encode(), output)


def _as_text(answer: dict[str, Any], format_: Format) -> str:
    if format_ is Format.CSV:
        return to_csv(answer)
    if format_ is Format.JSON:
        return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    text = io.StringIO()
    print_comparison(answer, console=table_console(text))
    return text.getvalue()


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    else:
        output.write_bytes(content)
