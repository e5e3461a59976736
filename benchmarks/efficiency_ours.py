"""probe's own searches in `search_efficiency.py`: its recipe and its range tests; `ledger_executor.py` does the rest.

Trials train here instead of in a worker process, through the ledger, which remembers epochs; range tests are remembered alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from efficiency_methods import (
    ACTIVATIONS,
    BATCH_EXPONENTS,
    DROPOUT,
    LAYERS,
    LR,
    OPTIMIZERS,
    WEIGHT_DECAY,
    WIDTH_EXPONENTS,
    Method,
    Outcome,
)
from efficiency_training import (
    EPOCHS_A_TRIAL,
    EPOCHS_IN_ALL,
    FACTOR,
    MOMENTUM,
    RUNGS_FROM,
    DigitsSource,
    Ledger,
    configuration_hash,
    remembered,
)
from ledger_executor import run_search

from probe.device.select import DeviceSpec
from probe.lr.find import find_lr
from probe.lr.records import LrResult
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.recipe.space import ProbedLr
from probe.records_json import from_plain, to_plain
from probe.search.lr_probe import LrProbePlan, LrProbes, probe_lrs
from probe.search.settings import SearchSettings, make_settings
from probe.search.space.dimensions import build_space, central_params, optimizers_of
from probe.version import VERSION

PROBED_LR: dict[str, Any] = {"probe": "range_test", "per": "optimizer"}
GIVEN_LR: dict[str, Any] = {"low": LR[0], "high": LR[1], "log": True}


def recipe_for(seed: int, lr: Mapping[str, Any], search: Mapping[str, Any]) -> Recipe:
    """The benchmark's space as a recipe."""
    content = {
        "schema": 1,
        "name": "search-efficiency",
        "task": {"model": "cnn", "data": "mnist", "objective": {"metric": "accuracy", "mode": "max"}},
        "space": {
            "optimizer": {"choices": OPTIMIZERS},
            "lr": dict(lr),
            "batch_size": _powers(BATCH_EXPONENTS),
            "layers": {"low": LAYERS[0], "high": LAYERS[1]},
            "width": _powers(WIDTH_EXPONENTS),
            "dropout": {"low": DROPOUT[0], "high": DROPOUT[1]},
            "weight_decay": {"low": WEIGHT_DECAY[0], "high": WEIGHT_DECAY[1], "log": True},
            "activation": {"choices": ACTIVATIONS},
        },
        "search": {
            "seed": seed,
            "fidelity": {"min": RUNGS_FROM, "max": EPOCHS_A_TRIAL, "factor": FACTOR},
            **search,
        },
        "budget": {"epochs": EPOCHS_IN_ALL},
    }
    return parse_recipe(content, where="the benchmark")


def probe_search(
    seed: int, ledger: Ledger, *, lr: Mapping[str, Any], search: Mapping[str, Any] | None = None
) -> Outcome:
    """probe's search as the recipe says it, `auto` choosing the sampler unless `search` does."""
    recipe = recipe_for(seed, lr, search or {})
    source = DigitsSource(images=ledger.images)
    setup = make_settings(recipe, source, device=DeviceSpec(kind="cpu"), num_workers=1)
    probes = _probe_lrs(setup, ledger)
    num_trials = run_search(setup, ledger, probes=probes)
    return Outcome(
        accuracies=ledger.accuracies, probe_epochs=0.0 if probes is None else probes.epochs, num_trials=num_trials
    )


@dataclass(frozen=True, kw_only=True)
class _RangeTester:
    """Stands in for the executor of `probe_lrs`: makes each range test in this process, or reads an earlier one."""

    ledger: Ledger

    def run(
        self,
        function: Callable[..., Any],
        /,
        source: DigitsSource,
        options: Mapping[str, Any],
        *,
        on_message: Callable[[Any], None] | None = None,
    ) -> LrResult:
        params = options["params"]
        key = configuration_hash(source.images, {**options, "device": str(options["device"]), "version": VERSION})

        def compute() -> Any:
            momentum = {"momentum": MOMENTUM} if params["optimizer"] == "sgd" else {}
            return to_plain(find_lr(source, **{**options, "params": {**params, **momentum}}))

        return from_plain(LrResult, remembered(self.ledger.store.parent / "range_tests" / f"{key}.json", compute))


def _probe_lrs(setup: SearchSettings, ledger: Ledger) -> LrProbes | None:
    entry = setup.recipe.space["lr"]
    if not isinstance(entry, ProbedLr):
        return None
    space = build_space(setup.recipe)
    optimizers = optimizers_of(setup.recipe, None) if entry.per == "optimizer" else ("",)
    plan = LrProbePlan(
        source=setup.source,
        entry=entry,
        keys=optimizers,
        params={key: (central_params(space, **({"optimizer": key} if key else {})),) for key in optimizers},
        device=setup.device,
        seed=setup.seed,
        num_train=ledger.images.num_train,
        planned_epochs=setup.rungs[-1],
        limits=setup.limits,
        first_rung_epochs=setup.fidelity.costs[0],
        spent_epochs=0.0,
    )
    return probe_lrs(plan, _RangeTester(ledger=ledger))  # type: ignore[arg-type]  # only its `run` is used


def _powers(exponents: tuple[int, int]) -> dict[str, Any]:
    return {"low": 2 ** exponents[0], "high": 2 ** exponents[1], "pow2": True}


OURS: dict[str, Method] = {
    "probe": partial(probe_search, lr=PROBED_LR),
    "probe without range tests": partial(probe_search, lr=GIVEN_LR),
}
