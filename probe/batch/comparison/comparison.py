"""Sweeps of one task with different settings, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from probe.batch.find import find_batch_size
from probe.batch.records import BatchComparison, BatchResult, LoaderSpeed, StoppedBy, Variant, VariantSettings
from probe.errors import ProbeError
from probe.tasks.source import NamedSource, TaskSource


@dataclass(slots=True)
class Comparison:
    """Sweeps with the settings of one variant after another, until an error or Ctrl-C."""

    source: TaskSource
    params: Mapping[str, Any]
    """Hyperparameters that all variants share."""
    begin: Callable[[str], None] | None
    variants: list[Variant] = field(default_factory=list)
    error: ProbeError | None = None
    interrupted: bool = False
    started: float = field(default_factory=time.perf_counter)

    @property
    def has_ended(self) -> bool:
        return self.interrupted or self.error is not None

    @property
    def own_settings(self) -> VariantSettings:
        """The settings of the training itself."""
        return VariantSettings(**{name: self.params[name] for name in VariantSettings().params if name in self.params})

    def sweep(self, settings: VariantSettings, *, may_fail: bool = False, **arguments: Any) -> None:
        """Add the variant with these settings. Its error ends the comparison, unless it `may_fail` and was measured at all."""
        if self.begin is not None:
            self.begin(settings.title)
        source = self.source
        if settings.image_size is not None and isinstance(source, NamedSource):
            source = replace(source, image_size=settings.image_size)
        result: BatchResult | None = None
        try:
            result = find_batch_size(source, params={**self.params, **settings.params}, **arguments)
        except ProbeError as raised:
            result = raised.result
            self.error = None if may_fail and result is not None else raised
        except KeyboardInterrupt:
            if not self.variants:
                raise
            self.interrupted = True
        if result is not None:
            self.variants.append(Variant(image_size=settings.image_size, **settings.params, result=result))
            self.interrupted = result.stopped_by == "interrupted"

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """A context in which Ctrl-C ends the comparison with the variants so far."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True

    def result(self, loader: tuple[LoaderSpeed, ...] = ()) -> BatchComparison:
        """Return the record of the comparison. Raises the error that ended it, with the record as its `result`."""
        if self.error is not None and not self.variants:
            raise self.error
        first, source = self.variants[0], self.source
        if first.image_size is not None and isinstance(source, NamedSource):
            source = replace(source, image_size=None)
        comparison = BatchComparison(
            meta=first.result.meta,
            stopped_by=self._stopped_by(),
            task=source.title,
            optimizer=first.result.optimizer,
            variants=tuple(self.variants),
            loader=loader,
            seconds=time.perf_counter() - self.started,
        )
        if self.error is not None:
            self.error.result = comparison
            raise self.error
        return comparison

    def _stopped_by(self) -> StoppedBy:
        endings = {variant.result.stopped_by for variant in self.variants}
        if self.has_ended:
            return "error" if self.error is not None else "interrupted"
        if endings <= {"predicted", "nothing_fits"} and len(endings) == 1:
            return endings.pop()
        return "finished"
