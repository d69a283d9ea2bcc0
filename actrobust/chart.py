"""A picture of the comparison."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actrobust.client import Client, Query

FORMATS = {".svg": "svg", ".png": "png", ".json": "vega-lite"}


class Chart:
    """A drawn comparison; a notebook shows it, `save` writes it.

    Attributes:
        svg: the picture, as of the call that made it.
    """

    def __init__(self, client: "Client", experiment_id: str, view: str, query: "Mapping[str, Query]") -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._query = {**query, "view": view}
        self.svg = self._drawn("svg").decode()

    def __repr__(self) -> str:
        return f"<Chart '{self._query['view']}' of {self._experiment_id}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}

    def save(self, path: str | Path) -> Path:
        """Write it: as SVG, as PNG, or as Vega-Lite to a file that ends in .json.

        Raises: ValueError: the name ends otherwise.
        """
        target = Path(path)
        if target.suffix not in FORMATS:
            raise ValueError(f"'{target.name}' must end in one of {', '.join(FORMATS)}")
        picture = self.svg.encode() if target.suffix == ".svg" else self._drawn(FORMATS[target.suffix])
        target.write_bytes(picture)
        return target

    def _drawn(self, file_format: str) -> bytes:
        query: dict[str, Any] = {**self._query, "file_format": file_format}
        return self._client.chart(self._experiment_id, **query)
