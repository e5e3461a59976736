"""probe's own searches in `search_lcbench.py`, as a user would write them; `ledger_executor.py` runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lcbench_surrogate import EPOCHS_A_TRIAL, HYPERPARAMETERS, Ledger, Number
from ledger_executor import run_search

from probe.device.select import DeviceSpec
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.search.records.search import ParamValue
from probe.search.samplers.registry import SAMPLER_NAMES
from probe.search.settings import make_settings
from probe.tasks.source import NamedSource
from probe.training.records import EpochReport

EPOCH_SECONDS = 60.0
"""That an epoch is said to take: long enough for any sampler to be worth its time, whatever machine the benchmark runs on."""
OURS = ("probe", *(f"probe-{name}" for name in SAMPLER_NAMES if name not in ("auto", "grid")))


@dataclass(frozen=True, slots=True, kw_only=True)
class OurMethod:
    """`probe`, `probe-tpe`, `probe-tpe@4`: a sampler, and how many trials run at a time."""

    sampler: str | None
    """None: the recipe does not say."""
    num_slots: int = 1

    def search(self, task: str, seed: int, ledger: Ledger) -> int:
        recipe = recipe_for(seed, sampler=self.sampler, limit=ledger.limit)
        source = NamedSource(model="mlp", data="digits")  # which nobody builds
        setup = make_settings(recipe, source, device=DeviceSpec(kind="cpu"), num_workers=self.num_slots)
        return run_search(setup, _ReportedLedger(ledger=ledger), num_slots=self.num_slots)


def our_method(name: str) -> OurMethod | None:
    """The method with this name; None: it is none of ours."""
    base, at, slots = name.partition("@")
    if base not in OURS or (at and not (slots.isdecimal() and int(slots) > 0)):
        return None
    return OurMethod(sampler=base.removeprefix("probe").removeprefix("-") or None, num_slots=int(slots or 1))


def with_slots(name: str, num_slots: int) -> str:
    return name if num_slots == 1 else f"{name}@{num_slots}"


def recipe_for(seed: int, *, sampler: str | None, limit: int) -> Recipe:
    """Seven ranges, the longest training and a budget: the rest is probe's to choose."""
    space: dict[str, Any] = {"optimizer": "sgd"}
    for given in HYPERPARAMETERS:
        space[given.our_name] = {"low": given.low, "high": given.high, "log": given.log}
    search: dict[str, Any] = {"seed": seed, "fidelity": {"max": EPOCHS_A_TRIAL}}
    content = {
        "schema": 1,
        "name": "search-lcbench",
        "task": {"model": "mlp", "data": "digits", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": space,
        "search": search if sampler is None else {**search, "sampler": sampler},
        "budget": {"epochs": limit},
    }
    return parse_recipe(content, where="the benchmark")


@dataclass(frozen=True, kw_only=True)
class _ReportedLedger:
    """The ledger by probe's names, with the reports that probe's trials send."""

    ledger: Ledger

    def epoch(self, params: Mapping[str, ParamValue], number: int) -> EpochReport:
        named: dict[str, Number] = {}
        for given in HYPERPARAMETERS:
            value = params[given.our_name]
            named[given.name] = int(value) if given.is_whole else float(value)
        accuracy = self.ledger.epoch(named, number)
        return EpochReport(
            epoch=number,
            train_loss=1 - accuracy,  # the surrogate has no such thing, and nothing here depends on it
            val_loss=None,
            metrics={"accuracy": accuracy},
            seconds=EPOCH_SECONDS,
        )
