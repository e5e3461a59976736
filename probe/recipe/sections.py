"""Tables inside a recipe's sections: how validation is done, how far a trial goes, what it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from probe.errors import UsageError
from probe.recipe.space import Number, Section
from probe.recipe.values import show
from probe.units import parse_bytes, parse_seconds

DEFAULT_FRACTION = 0.2
DEFAULT_FOLDS = 5
DEFAULT_DATA_EPOCHS = 10


def _plain_seconds(value: object) -> object:
    return f"{value}s" if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _readable(parse: Callable[[str], float], rule: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            parse(text)
        except UsageError:
            raise ValueError(f"must be {rule}, not {show(text)}") from None
        return text

    return AfterValidator(check)


Duration = Annotated[
    str,
    BeforeValidator(_plain_seconds),
    _readable(parse_seconds, "a duration above zero like 90s, 2m or 1h30m"),
]
MemorySize = Annotated[str, _readable(parse_bytes, "an amount of memory like 512MiB or 8GiB")]


class Validation(Section):
    """How trials are validated: on a part held out of the training data, or on each of k parts in turn. A hold-out is not
    used where the task has a validation part of its own; k-fold refuses such a task."""

    kind: Literal["holdout", "kfold"] = "holdout"
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """Of a hold-out."""
    k: int | None = Field(default=None, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            return plain
        plain = dict(plain)
        kind = plain.get("kind", "holdout")
        foreign = {"holdout": "k", "kfold": "fraction"}.get(kind) if isinstance(kind, str) else None
        if foreign is not None and plain.get(foreign) is not None:
            raise ValueError(f'{foreign}: belongs to kind = "{"kfold" if foreign == "k" else "holdout"}", not "{kind}"')
        default: dict[str, Any] = {"k": DEFAULT_FOLDS} if kind == "kfold" else {"fraction": DEFAULT_FRACTION}
        return {**default, **plain} if kind in ("holdout", "kfold") else plain

    @property
    def num_folds(self) -> int:
        """1 for a hold-out."""
        return self.k if self.kind == "kfold" and self.k is not None else 1


class Fidelity(Section):
    """How far a trial is trained. By epochs: the ladder ranks trials after min, min * factor, ... epochs, and at max. By
    data: trials are trained anew for `epochs` on those shares of the training data. Where `min` or `factor` is not given,
    probe.search.schedulers.auto_scheduler chooses it."""

    unit: Literal["epochs", "data"] = "epochs"
    min: Number | None = None
    max: Number = 27
    factor: int | None = Field(default=None, ge=2)
    """One trial in `factor` goes on from each rung to the next."""
    epochs: int | None = Field(default=None, ge=1)
    """With unit `data`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, plain: Any) -> Any:
        if not isinstance(plain, Mapping) or plain.get("unit") != "data":
            return plain
        return {"max": 1.0, "epochs": DEFAULT_DATA_EPOCHS, **plain}

    @model_validator(mode="after")
    def _check(self) -> Fidelity:
        if self.unit == "epochs" and self.epochs is not None:
            raise ValueError('epochs: belongs to unit = "data"; with unit = "epochs" write max')
        for end in ("min", "max"):
            value = getattr(self, end)
            if value is None:
                continue
            if self.unit == "epochs" and not isinstance(value, int):
                raise ValueError(f"{end}: must be a whole number, not {show(value)}")
            if self.unit == "epochs" and value < 1:
                raise ValueError(f"{end}: must be at least 1, not {show(value)}")
            if self.unit == "data" and not 0.001 <= value <= 1:
                raise ValueError(f"{end}: must be a share of the training data from 0.001 to 1, not {show(value)}")
        if self.min is not None and self.min > self.max:
            raise ValueError(f"min must be at most max, not {show(self.min)} to {show(self.max)}")
        return self

    @property
    def lowest(self) -> int | None:
        """Epochs, or thousandths of the training data; None where it is not given."""
        return None if self.min is None else self._in_rungs(self.min)

    @property
    def highest(self) -> int:
        return self._in_rungs(self.max)

    def _in_rungs(self, end: float) -> int:
        return round(1000 * end) if self.unit == "data" else int(end)

    @property
    def full_epochs(self) -> int:
        """Of the longest training of a trial."""
        return self.highest if self.unit == "epochs" else self.epochs or DEFAULT_DATA_EPOCHS


class Constraints(Section):
    """What a trial may take at most; one that takes more is told to the sampler as infeasible."""

    params: Number | None = None
    """Trainable parameters."""
    step_ms: Number | None = None
    """Mean time of a training step in milliseconds."""
    memory: MemorySize | None = None

    @model_validator(mode="after")
    def _check(self) -> Constraints:
        for name in ("params", "step_ms"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}: must be a number above 0, not {show(value)}")
        return self

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else parse_bytes(self.memory)
