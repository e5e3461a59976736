"""The entries of a recipe's [space]: what one hyperparameter may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from probe.recipe.steps import check_step, is_step
from probe.recipe.values import (
    ParamValue,
    check_number,
    check_param_value,
    is_power_of_two,
    nearest_powers_of_two,
    same_value,
    show,
)
from probe.recipe.when import Condition, plain_condition, read_condition

Number = Annotated[int | float, BeforeValidator(check_number)]
"""Keeps apart 1 and 1.0: whole numbers make a whole-numbered hyperparameter."""

Scalar = Annotated[bool | int | float | str, BeforeValidator(check_param_value)]

When = dict[str, Annotated[Condition, PlainValidator(read_condition), PlainSerializer(plain_condition)]]
"""Conditions on other hyperparameters with which this one exists; all of them must hold."""


class Section(BaseModel):
    """A table of a recipe: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Constant(Section):
    """A plain value in [space]: not searched."""

    value: Scalar

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, plain: Any) -> Any:
        return {"value": plain}

    @model_serializer
    def _unwrap(self) -> ParamValue:
        return self.value


class Range(Section):
    """`low` to `high`, both included. Two whole numbers make a whole-numbered hyperparameter."""

    low: Number
    high: Number
    log: bool = False
    """Draw evenly in the logarithm."""
    pow2: bool = False
    """Powers of two only."""
    step: Number | None = None
    """Only `low`, `low + step`, `low + 2 * step`, ... up to `high`, which is one of them."""
    steps: int | None = Field(default=None, ge=2)
    """How many values a grid takes of it."""
    when: When | None = Field(default=None, min_length=1)

    @property
    def kind(self) -> Literal["int", "float", "pow2"]:
        if self.pow2:
            return "pow2"
        parts = (self.low, self.high, *(() if self.step is None else (self.step,)))
        return "int" if all(isinstance(part, int) for part in parts) else "float"

    @model_validator(mode="after")
    def _check(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, not {show(self.low)} to {show(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs a low above 0, not {show(self.low)}")
        if self.pow2 and self.log:
            raise ValueError("takes pow2 or log, not both: powers of two are evenly spaced in the logarithm already")
        if self.step is not None:
            other = next((name for name in ("log", "pow2", "steps") if getattr(self, name)), None)
            if other is not None:
                why = (
                    "a grid takes every value of it"
                    if other == "steps"
                    else "steps are evenly spaced between low and high"
                )
                raise ValueError(f"takes step or {other}, not both: {why}")
            check_step(self.low, self.high, self.step)
        for end in ("low", "high"):
            value = getattr(self, end)
            if self.pow2 and not is_power_of_two(value):
                raise ValueError(
                    f"pow2 = true needs powers of two as ends; {end} is {show(value)}, "
                    f"the nearest are {nearest_powers_of_two(value)}"
                )
        return self

    def contains(self, value: ParamValue) -> bool:
        if isinstance(value, (bool, str)) or not self.low <= value <= self.high:
            return False
        if self.step is not None and not is_step(value, self.low, self.step):
            return False
        return self.kind == "float" or (is_power_of_two(value) if self.pow2 else isinstance(value, int))


class Choices(Section):
    """One of a list of values."""

    choices: tuple[Scalar, ...] = Field(strict=False)
    when: When | None = Field(default=None, min_length=1)

    @field_validator("choices", mode="before")
    @classmethod
    def _check_kinds(cls, choices: Any) -> Any:
        """What cannot be told apart in a table or handed to a sampler is named instead: a list, a table, None."""
        for value in choices if isinstance(choices, (list, tuple)) else ():
            if value is None or isinstance(value, (list, tuple, Mapping)):
                raise ValueError(
                    f"a choice is text, a number, true or false, not {show(value)}; name each choice, like "
                    f'choices = ["none", "small"], and look its value up in the task: {{"none": None, "small": [32, 32]}}[name]'
                )
        return choices

    @model_validator(mode="after")
    def _check(self) -> Choices:
        if not self.choices:
            raise ValueError("choices must not be empty")
        for position, value in enumerate(self.choices):
            if any(same_value(value, earlier) for earlier in self.choices[:position]):
                raise ValueError(f"choices holds {show(value)} twice")
        return self

    def contains(self, value: ParamValue) -> bool:
        return any(same_value(value, choice) for choice in self.choices)


class ProbedBatch(Section):
    """For batch_size: powers of two up to the smaller of `max` and what the batch probe finds to fit."""

    probe: Literal["max_batch"]
    max: int | None = Field(default=None, ge=1)

    def contains(self, value: ParamValue) -> bool:
        return is_power_of_two(value) and (self.max is None or float(value) <= self.max)


class ProbedLr(Section):
    """For lr: a range around what the range test suggests, from `below` decades under it to `above` decades over it."""

    probe: Literal["range_test"]
    per: Literal["optimizer"] | None = None
    """One range test for each optimizer of the space, instead of one for all."""
    below: float = Field(default=1.5, ge=0, le=8)
    above: float = Field(default=0.5, ge=0, le=8)
    steps: int | None = Field(default=None, ge=2)
    """How many values a grid takes of it."""

    @model_validator(mode="after")
    def _check(self) -> ProbedLr:
        if self.below + self.above == 0:
            raise ValueError("below and above are both 0, which leaves nothing to search")
        return self

    def contains(self, value: ParamValue) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _kind_of(plain: Any) -> str:
    """Which entry `plain` is meant to be: its tag, in angle brackets, so that no key of a recipe can be mistaken for one."""
    if isinstance(plain, Section):
        return {Constant: "<constant>", Range: "<range>", Choices: "<choices>", ProbedBatch: "<max_batch>"}.get(
            type(plain), "<range_test>"
        )
    if not isinstance(plain, Mapping):
        return "<constant>"
    if "probe" in plain:
        return f"<{plain['probe']}>"
    return "<choices>" if "choices" in plain else "<range>"


SpaceEntry = Annotated[
    Annotated[Constant, Tag("<constant>")]
    | Annotated[Range, Tag("<range>")]
    | Annotated[Choices, Tag("<choices>")]
    | Annotated[ProbedBatch, Tag("<max_batch>")]
    | Annotated[ProbedLr, Tag("<range_test>")],
    Discriminator(
        _kind_of,
        custom_error_type="unknown_probe",
        custom_error_message='probe must be "max_batch" (for batch_size) or "range_test" (for lr)',
    ),
]
ENTRIES: dict[str, type[Section]] = {
    "<constant>": Constant,
    "<range>": Range,
    "<choices>": Choices,
    "<max_batch>": ProbedBatch,
    "<range_test>": ProbedLr,
}
