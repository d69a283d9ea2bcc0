"""What is posted: a preset's name, a spec, single fields, or all of them together."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

KIND_WILL_DO = ("dataset", "corruption", "architecture")


class SpecFields(TypedDict, total=False):
    """The fields of a spec; `docs/reference-spec.md` has what each may hold."""

    name: str
    dataset: str | Mapping[str, Any]
    corruption: str | Mapping[str, Any]
    architecture: str | Mapping[str, Any]
    activations: Sequence[str | Mapping[str, Any]]
    training: Mapping[str, Any]
    num_seeds: int
    until: Mapping[str, Any] | None
    base_seed: int
    metric: str | None
    score: str
    margin: Mapping[str, float] | None


def document_of(spec: str | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The document to post. The service merges it into the preset and the data set's defaults."""
    base: Mapping[str, Any] = {"preset": spec} if isinstance(spec, str) else spec or {}
    given = {name: _spelt_out(name, value) for name, value in fields.items()}
    return merged(base, given)


def _spelt_out(name: str, value: Any) -> Any:
    return {"kind": value} if name in KIND_WILL_DO and isinstance(value, str) else value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged member by member, as the service does it with a preset: another `kind` replaces the object.

    A null is passed on: for the service it takes away what a preset says.
    """
    replaces = "kind" in changes and base.get("kind") not in {None, changes["kind"]}
    result = {} if replaces else dict(base)
    for name, value in changes.items():
        here = result.get(name)
        result[name] = merged(here, value) if isinstance(here, Mapping) and isinstance(value, Mapping) else value
    return result
