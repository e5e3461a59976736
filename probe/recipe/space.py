"""The entries of [space]: constants, ranges, choices, and values that a probe finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
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

from probe.limits import MAX_CHOICES, MAX_GRID, MAX_RANGE_END, MAX_SAMPLES, MAX_TEXT, is_text
from probe.recipe.values import (
    ParamValue,
    check_number,
    check_param_value,
    check_step,
    is_power_of_two,
    is_step,
    nearest_powers_of_two,
    num_steps,
    same_value,
    show,
)
from probe.recipe.when import Condition, plain_condition, read_condition

Number = Annotated[int | float, BeforeValidator(check_number)]
"""A finite number. 1 and 1.0 stay distinct, because whole numbers define an integer hyperparameter."""

Scalar = Annotated[bool | int | float | str, BeforeValidator(check_param_value)]


def _check_text(text: str) -> str:
    if not is_text(text, one_line=True):
        raise ValueError(f"must have at most {MAX_TEXT:,} printable characters, not {text[:40]!a}")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_check_text)]
"""A name or a path."""

When = dict[str, Annotated[Condition, PlainValidator(read_condition), PlainSerializer(plain_condition)]]
"""Conditions on other hyperparameters, all of which must hold for this one to exist."""


class Section(BaseModel):
    """Base class of all tables of a recipe: frozen, without unknown keys or conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Constant(Section):
    """A plain value: a hyperparameter that is not searched."""

    value: Scalar
    """The value."""

    @model_validator(mode="before")
    @classmethod
    def _wrap(cls, plain: Any) -> Any:
        return {"value": plain}

    @model_serializer
    def _unwrap(self) -> ParamValue:
        return self.value


class Range(Section):
    """A range of numbers. The hyperparameter is an integer if low and high are written as integers."""

    low: Number
    """Smallest value."""
    high: Number
    """Largest value."""
    log: bool = False
    """Whether values are drawn evenly on the logarithmic scale."""
    pow2: bool = False
    """Whether only powers of two are allowed."""
    step: Number | None = None
    """Distance between allowed values: low, low + step, ... and high."""
    steps: int | None = Field(default=None, ge=2, le=MAX_GRID)
    """Number of values in a grid."""
    when: When | None = Field(default=None, min_length=1)
    """Condition with which the hyperparameter exists."""

    @property
    def ends(self) -> tuple[ParamValue, ParamValue]:
        """The smallest and the largest value, with the type that values have."""
        return (float(self.low), float(self.high)) if self.kind == "float" else (self.low, self.high)

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
        if self.kind != "float" and max(-self.low, self.high) > MAX_RANGE_END:
            raise ValueError(
                f"a range of whole numbers must be within {-MAX_RANGE_END:,} to {MAX_RANGE_END:,}, not {show(self.low)} "
                f"to {show(self.high)}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs a low above 0, not {show(self.low)}")
        if self.pow2 and self.log:
            raise ValueError(
                "pow2 and log cannot be combined: powers of two are already drawn evenly on the logarithmic scale"
            )
        if self.step is not None:
            other = next((name for name in ("log", "pow2", "steps") if getattr(self, name)), None)
            if other is not None:
                why = "a grid uses every step" if other == "steps" else "steps are evenly spaced between low and high"
                raise ValueError(f"step and {other} cannot be combined: {why}")
            if self.step > 0 and num_steps(self.low, self.high, self.step) >= MAX_GRID:
                raise ValueError(
                    f"step must leave at most {MAX_GRID:,} values, not {show(self.step)} for {show(self.low)} to "
                    f"{show(self.high)}; remove it to allow all values between"
                )
            check_step(self.low, self.high, self.step)
        for end in ("low", "high"):
            value = getattr(self, end)
            if self.pow2 and not is_power_of_two(value):
                raise ValueError(
                    f"{end} must be a power of two with pow2 = true, not {show(value)}; "
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
    """A list of values."""

    choices: tuple[Scalar, ...] = Field(strict=False, max_length=MAX_CHOICES)
    """The allowed values: text, numbers, true or false."""
    when: When | None = Field(default=None, min_length=1)
    """Condition with which the hyperparameter exists."""

    @field_validator("choices", mode="before")
    @classmethod
    def _check_kinds(cls, choices: Any) -> Any:
        """Reject lists, tables and None, which samplers and result tables do not support."""
        for value in choices if isinstance(choices, (list, tuple)) else ():
            if value is None or isinstance(value, (list, tuple, Mapping)):
                raise ValueError(
                    f"a choice must be text, a number, true or false, not {show(value)}; give each choice a name, like "
                    f'choices = ["none", "small"], and look up its value in the task: {{"none": None, "small": [32, 32]}}[name]'
                )
        return choices

    @model_validator(mode="after")
    def _check(self) -> Choices:
        if not self.choices:
            raise ValueError("choices must not be empty")
        for position, value in enumerate(self.choices):
            if any(same_value(value, earlier) for earlier in self.choices[:position]):
                raise ValueError(f"choices contains {show(value)} twice")
        return self

    def contains(self, value: ParamValue) -> bool:
        return any(same_value(value, choice) for choice in self.choices)


class ProbedBatch(Section):
    """For batch_size: powers of two up to the largest batch that fits, which the batch probe measures."""

    probe: Literal["max_batch"]
    """`"max_batch"`: measure the largest batch that fits."""
    max: int | None = Field(default=None, ge=1, le=MAX_SAMPLES)
    """Upper limit of the batch size."""

    def contains(self, value: ParamValue) -> bool:
        return is_power_of_two(value) and (self.max is None or float(value) <= self.max)


class ProbedLr(Section):
    """For lr: a range around the suggestion of a range test."""

    probe: Literal["range_test"]
    """`"range_test"`: measure a learning rate."""
    per: Literal["optimizer"] | None = None
    """`"optimizer"` makes one range test for each optimizer of the space instead of one in all."""
    below: float = Field(default=1.5, ge=0, le=8)
    """Decades from the suggestion to the lower end of the range."""
    above: float = Field(default=0.5, ge=0, le=8)
    """Decades from the suggestion to the upper end of the range."""
    steps: int | None = Field(default=None, ge=2, le=MAX_GRID)
    """Number of values in a grid."""

    @model_validator(mode="after")
    def _check(self) -> ProbedLr:
        if self.below + self.above == 0:
            raise ValueError("below and above cannot both be 0: the range would contain one value only")
        return self

    def contains(self, value: ParamValue) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _kind_of(plain: Any) -> str:
    """The tag of the entry that `plain` describes, in angle brackets to distinguish it from a key of the recipe."""
    if isinstance(plain, Section):
        return next(tag for tag, kind in ENTRIES.items() if kind is type(plain))
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
