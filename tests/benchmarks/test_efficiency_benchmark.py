"""The benchmark's own arithmetic: what is compared at how many epochs."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from probe.search.space.space import Params

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_efficiency

    yield search_efficiency
    for name in [
        name for name, module in sys.modules.items() if str(BENCHMARKS) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[name]


def test_range_tests_count_as_epochs(benchmark: Any) -> None:
    curve = benchmark.SearchCurve(method="m", seed=0, probe_epochs=2.5, num_trials=2, best=(0.5, 0.5, 0.8))
    assert [curve.at(epochs) for epochs in (0, 3, 3.5, 5.4, 5.5, 60)] == [0.0, 0.0, 0.5, 0.5, 0.8, 0.8]
    assert curve.epochs_to(0.5) == 3.5
    assert curve.epochs_to(0.6) == 5.5
    assert curve.epochs_to(0.9) == math.inf
    assert curve.final == 0.8


def test_the_interval_of_paired_differences(benchmark: Any) -> None:
    mean, low, high = benchmark.interval([0.01, 0.02, 0.03])
    assert mean == pytest.approx(0.02)
    assert (low, high) == pytest.approx((0.02 - 4.302653 * 0.01 / 3**0.5, 0.02 + 4.302653 * 0.01 / 3**0.5))
    assert benchmark.interval([0.01]) == (0.01, -math.inf, math.inf)


def test_a_ledger_counts_what_is_asked_for_and_trains_it_once(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_DATA", str(tmp_path / "no such data"))
    import efficiency_training as training
    from ledger_executor import BudgetSpentError

    images = training.find_images()
    assert images.data == "digits"
    params: Params = {"optimizer": "sgd", "lr": 0.01, "batch_size": 64, "layers": 1, "width": 8, "dropout": 0.0}

    def epochs(limit: int, numbers: range) -> Any:
        ledger = training.Ledger(images=images, store=tmp_path / "epochs", limit=limit)
        return [ledger.epoch(params, number) for number in numbers], ledger

    first, _ = epochs(2, range(1, 3))
    again, ledger = epochs(3, range(1, 4))
    assert again[:2] == first  # to the bit, its seconds too: it was remembered
    assert ledger.accuracies == [report.metrics["accuracy"] for report in again]
    fresh = training.Ledger(images=images, store=tmp_path / "others")
    for number in range(1, 4):
        fresh.epoch(params, number)
    assert fresh.accuracies == ledger.accuracies  # which took up the third epoch from a checkpoint
    with pytest.raises(BudgetSpentError):
        ledger.epoch(params, 4)


def test_range_tests_are_made_within_the_budget_of_probes_and_remembered(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_DATA", str(tmp_path / "no such data"))
    ours: Any = importlib.import_module("efficiency_ours")
    training: Any = importlib.import_module("efficiency_training")
    ledger = training.Ledger(images=training.find_images(), store=tmp_path / "epochs")
    recipe = ours.recipe_for(0, ours.PROBED_LR, {})
    settings = ours.make_settings(
        recipe, ours.DigitsSource(images=ledger.images), device=ours.DeviceSpec(kind="cpu"), num_workers=1
    )
    first, again = (ours._probe_lrs(settings, ledger) for _ in range(2))
    assert {"adam", "rmsprop"} <= set(first.results) <= set(ours.OPTIMIZERS)
    assert first.epochs > 0
    assert again.results == first.results  # the measured seconds, too
    assert len(list((tmp_path / "range_tests").iterdir())) == len(first.results)
