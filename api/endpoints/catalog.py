"""What a spec may name."""

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path

from api import schemas
from api.deps import NoParameters
from api.openapi import problems
from shared.catalog.activations import ACTIVATIONS
from shared.catalog.architectures import ARCHITECTURES
from shared.catalog.base import Entry, Task, suggestion
from shared.catalog.corruptions import CORRUPTIONS, Corruption
from shared.catalog.datasets import DATASETS
from shared.catalog.losses import LOSSES
from shared.catalog.optimizers import OPTIMIZERS
from shared.catalog.presets import PRESETS, Preset
from shared.catalog.schedules import SCHEDULES
from shared.errors import NotFoundError
from shared.spec import resolve

router = APIRouter(tags=["catalog"], dependencies=[NoParameters])

TASKS: tuple[Task, ...] = ("regression", "classification")


@router.get(
    "/catalog", summary="Show the catalog",
    responses=problems(422),
)  # fmt: skip
def get_catalog() -> schemas.Catalog:
    """Every activation, data set, corruption, architecture, optimiser, schedule, loss and preset.

    Each comes with its formula, its source and the JSON Schema of its parameters.
    """
    return _catalog()


@router.get(
    "/presets", summary="List presets",
    responses=problems(422),
)  # fmt: skip
def list_presets() -> schemas.Presets:
    """Named specs that a request may start from: `{"preset": name}`."""
    return schemas.Presets(items=[schemas.PresetSummary.model_validate(_summary(p)) for p in PRESETS.values()])


@router.get(
    "/presets/{name}", summary="Look at a preset",
    responses=problems(404, 422),
)  # fmt: skip
def get_preset(name: Annotated[str, Path(description="The preset.")]) -> schemas.Preset:
    """A preset's spec, and what it resolves to with every default."""
    if name not in PRESETS:
        raise NotFoundError(f"there is no preset of this name; {suggestion(name[:80], list(PRESETS))}")
    preset = PRESETS[name]
    resolved = resolve({"preset": name}).model_dump(mode="json")
    return schemas.Preset(**_summary(preset), spec=dict(preset.spec), resolved_spec=resolved)


def _summary(preset: Preset) -> dict[str, Any]:
    return {name: getattr(preset, name) for name in schemas.PresetSummary.model_fields}


@cache
def _catalog() -> schemas.Catalog:
    families: dict[str, dict[str, Any]] = {
        "activations": ACTIVATIONS, "datasets": DATASETS, "corruptions": CORRUPTIONS, "architectures": ARCHITECTURES,
        "optimizers": OPTIMIZERS, "schedules": SCHEDULES, "losses": LOSSES,
    }  # fmt: skip
    entries = {name: [_entry(kind, cls) for kind, cls in family.items()] for name, family in families.items()}
    return schemas.Catalog.model_validate({**entries, "presets": [_summary(preset) for preset in PRESETS.values()]})


def _entry(kind: str, cls: type[Entry]) -> dict[str, Any]:
    """Everything that any family tells of its entries; each family's schema takes its own part."""
    facts: dict[str, Any] = {
        "kind": kind, "title": cls.title, "formula": cls.formula, "source": cls.source,
        "parameters": cls.model_json_schema(),
    }  # fmt: skip
    for name in ("task", "defaults", "learnable"):
        if hasattr(cls, name):
            facts[name] = getattr(cls, name)
    if hasattr(cls, "fresh_for_each_seed"):
        facts["inference_scope"] = "fresh_data" if cls.fresh_for_each_seed else "fixed_split"
    if isinstance(entry := cls(kind=kind), Corruption):
        facts["fits"] = [task for task in TASKS if entry.fits(task)]
    return facts
