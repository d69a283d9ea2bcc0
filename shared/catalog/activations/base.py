"""What an activation promises: one element-wise function, named by its label and told apart by its parameters."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from shared.catalog.base import Entry, one_line

if TYPE_CHECKING:
    from torch import nn

Slope = Annotated[float, Field(ge=-10, le=10)]
Positive = Annotated[float, Field(gt=0, le=100)]
Label = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(one_line)]


class Activation(Entry):
    """An element-wise function; `label` names it in answers and must be unique within an experiment."""

    learnable: ClassVar[bool] = False

    label: Label | None = Field(
        None, validate_default=True, description="Its name in answers, unique in the spec; else kind and parameters."
    )

    @model_validator(mode="before")
    @classmethod
    def _label_by_parameters(cls, data: Any) -> Any:
        """Two entries that differ in a parameter must read differently: `leaky_relu(negative_slope=0.2)`."""
        if not isinstance(data, dict) or data.get("label") is not None:
            return data
        defaults = {name: field.default for name, field in cls.model_fields.items() if name not in {"kind", "label"}}
        given = [
            f"{name}={_as_read(data[name], default)}"
            for name, default in defaults.items()
            if name in data and data[name] != default
        ]
        kind = cls.model_fields["kind"].default
        label = f"{kind}({', '.join(given)})" if given else kind
        return {**data, "label": label[:80]}

    @property
    def name(self) -> str:
        """The label, which validation has filled in."""
        assert self.label is not None
        return self.label

    def build(self) -> "nn.Module":
        """A torch module without state of its own but for learnable parameters."""
        raise NotImplementedError

    def canonical(self) -> tuple[object, ...]:
        """A key that two entries share where they are the same function; the label is no part of it.

        An entry that turns into another one at some value of its parameters answers with that one's key.
        """
        return (self.kind, *sorted(self.model_dump(exclude={"kind", "label"}).items()))


def _as_read(value: object, default: object) -> object:
    """A whole number for a real parameter as the real number that it is: 1 and 1.0 are one function."""
    return float(value) if isinstance(default, float) and type(value) is int else value
