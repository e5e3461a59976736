"""The answers of a batch probe for several ways to train, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from probe.batch.records import BatchResult, StoppedBy
from probe.records import SCHEMA_VERSION, Precision, RunMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One way to train among several that are compared."""

    image_size: int | None
    """Height and width; None: not part of the comparison."""
    precision: Precision
    activation_checkpointing: bool
    """Activation checkpointing."""
    result: BatchResult

    @property
    def title(self) -> str:
        return variant_title(self.image_size, self.precision, activation_checkpointing=self.activation_checkpointing)


def variant_title(image_size: int | None, precision: Precision, *, activation_checkpointing: bool) -> str:
    """`256 x 256, bf16, with activation_checkpointing`."""
    size = [] if image_size is None else [f"{image_size} x {image_size}"]
    return ", ".join([*size, precision, *(["with checkpointing"] if activation_checkpointing else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchComparison:
    """The answers of `probe batch` for several image sizes, precisions, with and without checkpointing."""

    schema: int = SCHEMA_VERSION
    kind: Literal["batch_comparison"] = "batch_comparison"
    meta: RunMeta
    stopped_by: StoppedBy
    """`interrupted` where variants are missing, `predicted` where there was no device; else `finished`."""
    task: str
    optimizer: str
    variants: tuple[Variant, ...]
    """In the order asked for, image sizes slowest."""
    seconds: float
