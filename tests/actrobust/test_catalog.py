import io
from typing import Any

import pytest
from rich.console import Console

from actrobust.commands.catalog import choose, print_entries, print_sections
from actrobust.commands.output import CommandError

CATALOG: dict[str, Any] = {
    "activations": [
        {
            "kind": "leaky_relu",
            "title": "Leaky ReLU",
            "formula": "f(x) = x if x >= 0 else negative_slope * x",
            "source": "Maas 2013",
            "parameters": {
                "properties": {
                    "kind": {"const": "leaky_relu"},
                    "label": {"default": None},
                    "negative_slope": {"default": 0.01, "minimum": -10, "maximum": 10, "description": "slope"},
                }
            },
        },
        {"kind": "relu", "title": "ReLU", "formula": "f(x) = max(0, x)", "source": "s", "parameters": {}},
    ],
    "presets": [{"name": "harrison-mnist", "title": "MNIST", "description": "long " * 40, "source": "s"}],
}


def test_all_parts_fit_100_columns() -> None:
    file = io.StringIO()
    print_sections(CATALOG, console=Console(file=file, width=100))
    assert max(len(line) for line in file.getvalue().splitlines()) <= 100
    assert "negative_slope=0.01" in file.getvalue()
    assert "label" not in file.getvalue()


def test_an_entry_is_shown_with_bounds_and_source() -> None:
    file = io.StringIO()
    print_entries(choose(CATALOG, "leaky_relu"), console=Console(file=file, width=100))
    assert "leaky_relu (activations)" in file.getvalue()
    assert "source: Maas 2013" in file.getvalue()
    assert "parameter negative_slope=0.01 (>= -10, <= 10; slope)" in file.getvalue()


def test_a_part_is_chosen_by_its_name() -> None:
    assert choose(CATALOG, "presets") == {"presets": CATALOG["presets"]}
    assert choose(CATALOG, None) == CATALOG


def test_a_mistyped_name_leads_to_the_nearest() -> None:
    with pytest.raises(CommandError, match="no 'reluu'; did you mean 'relu'"):
        choose(CATALOG, "reluu")
    with pytest.raises(CommandError, match="its parts are activations, presets"):
        choose(CATALOG, "???")
