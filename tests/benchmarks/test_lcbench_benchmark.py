"""The benchmark on LCBench's curves, on curves that are made up: what counts, what is written, what the tables say."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from probe.search.jobs.jobs import JobEnd, JobEpoch, RungReport
from probe.training.records import EpochReport

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PARAMS = {
    "batch_size": 64,
    "learning_rate": 0.01,
    "momentum": 0.5,
    "weight_decay": 0.01,
    "num_layers": 2,
    "max_units": 128,
    "max_dropout": 0.5,
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_lcbench

    yield search_lcbench
    for name in [
        name for name, module in sys.modules.items() if str(BENCHMARKS) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[name]


class MadeCurves:
    """Accuracy grows with epochs and momentum; the rest does nothing."""

    def accuracies(self, params: Any) -> Any:
        return np.array([params["momentum"] * epoch / 52 for epoch in range(1, 53)], dtype=np.float32)

    def final_accuracies(self, many: Sequence[Any]) -> Any:
        return np.array([params["momentum"] for params in many], dtype=np.float32)


def ledger_of(benchmark: Any, **given: Any) -> Any:
    return benchmark.Ledger(curves=MadeCurves(), **given)


def test_a_ledger_counts_every_epoch_that_is_asked_for(benchmark: Any) -> None:
    from ledger_executor import BudgetSpentError

    ledger = ledger_of(benchmark, limit=3)
    assert [ledger.epoch(PARAMS, number) for number in (1, 52, 52)] == pytest.approx([0.5 / 52, 0.5, 0.5])
    with pytest.raises(BudgetSpentError):
        ledger.epoch(PARAMS, 1)
    assert ledger.accuracies == pytest.approx([0.5 / 52, 0.5, 0.5])


def test_draws_stay_in_their_ranges_and_are_whole_where_they_should_be(benchmark: Any) -> None:
    import lcbench_surrogate

    generator = random.Random(0)
    drawn = [lcbench_surrogate.draw_params(generator) for _ in range(300)]
    assert list(drawn[0]) == list(PARAMS)
    for given in lcbench_surrogate.HYPERPARAMETERS:
        values = [params[given.name] for params in drawn]
        assert given.low <= min(values) <= max(values) <= given.high
        assert all(isinstance(value, int) for value in values) == given.is_whole
    middle = statistics.median(params["learning_rate"] for params in drawn)
    assert 0.0015 < middle < 0.0065  # sqrt(1e-4 * 0.1) = 0.0032


def test_regret_is_zero_at_the_best_reference_and_one_at_their_median(benchmark: Any) -> None:
    reference = benchmark.reference_of(MadeCurves())
    assert reference.best == pytest.approx(0.99, abs=0.001)
    assert reference.median == pytest.approx(0.545, abs=0.01)
    assert [reference.regret(value) for value in (reference.best, reference.median)] == [0.0, 1.0]
    assert reference.regret(1.0) < 0


def test_a_row_holds_the_best_so_far_at_each_mark(benchmark: Any) -> None:
    asked = benchmark.TrialSuggested(method="m", task="t", seed=3)
    reference = benchmark.Reference(best=1.0, median=0.5)
    accuracies = [0.5, *[0.25] * 51, 0.75, *[0.0] * 987]
    row = benchmark.make_row(asked, accuracies, reference, num_trials=7, seconds=1.5)
    assert {name: row[name] for name in benchmark.COLUMNS} == {
        "method": "m",
        "task": "t",
        "seed": 3,
        "trials": 7,
        "epochs": 1040,
        "seconds": 1.5,
    }
    assert [row[f"regret_{mark:g}"] for mark in benchmark.MARKS] == [1.0, 0.5, 0.5, 0.5, 0.5]  # 5 % are 52 epochs
    assert row["acc_1"] == 0.75
    early = benchmark.make_row(asked, [0.5], reference, num_trials=1, seconds=0.0)
    assert early["acc_0.05"] == early["acc_1"] == 0.5  # of a search that ended before a mark, its last


class WrittenLedger:
    """Writes down who was asked for which epoch; the training of `breaks` breaks in its second epoch."""

    def __init__(self, breaks: str = "") -> None:
        self.asked: list[tuple[str, int]] = []
        self._breaks = breaks

    def epoch(self, params: Any, number: int) -> EpochReport | None:
        self.asked.append((params["name"], number))
        if params["name"] == self._breaks and number == 2:
            return None
        return EpochReport(epoch=number, train_loss=0.0, val_loss=None, metrics={}, seconds=2.0)


def job(number: int, name: str, epochs_from: int, epochs_to: int) -> Any:
    return SimpleNamespace(number=number, params={"name": name}, epochs_from=epochs_from, epochs_to=epochs_to)


def test_epochs_reach_the_ledger_in_the_order_of_their_ends(benchmark: Any) -> None:
    from ledger_executor import LedgerExecutor

    ledger = WrittenLedger()
    executor = LedgerExecutor(ledger=ledger, num_slots=2)
    executor.submit(job(0, "long", 0, 3))
    executor.submit(job(1, "short", 1, 2))
    with pytest.raises(RuntimeError, match="all 2 slots"):
        executor.submit(job(2, "third", 0, 1))
    events = executor.poll(0.0)
    assert [type(event) for event in events] == [JobEpoch, JobEpoch, JobEnd]
    assert events[-1] == JobEnd(number=1, report=RungReport(outcome="finished", seconds=2.0))
    assert executor.now == 1
    executor.submit(job(2, "third", 0, 2))
    assert executor.poll(0.0)[-1].number == 0  # both end at 3, and it was there first
    assert executor.poll(0.0)[-1].number == 2
    assert executor.poll(0.0) == []
    assert ledger.asked == [("long", 1), ("short", 2), ("long", 2), ("third", 1), ("long", 3), ("third", 2)]


def test_a_training_that_breaks_ends_its_job_there(benchmark: Any) -> None:
    from ledger_executor import LedgerExecutor

    ledger = WrittenLedger(breaks="a")
    executor = LedgerExecutor(ledger=ledger)
    executor.submit(job(0, "a", 0, 9))
    first, end = executor.poll(0.0)
    assert isinstance(first, JobEpoch)
    assert end == JobEnd(number=0, report=RungReport(outcome="diverged", seconds=2.0))
    executor.submit(job(1, "b", 0, 9))
    executor.cancel()
    assert executor.poll(0.0) == []
    assert ledger.asked == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("method", ["probe-random", "probe-random@3"])
def test_our_search_spends_the_epochs_and_no_more(benchmark: Any, method: str) -> None:
    limit = 200
    ledger = ledger_of(benchmark, limit=limit)
    num_trials = benchmark.search_of(method)("t", 0, ledger)
    assert limit - 52 < len(ledger.accuracies) <= limit
    assert num_trials > 10
    assert max(ledger.accuracies) > 0.5


def test_random_search_trains_whole_configurations(benchmark: Any) -> None:
    ledger = ledger_of(benchmark)
    assert benchmark.search_of("random")("t", 0, ledger) == 20
    assert len(ledger.accuracies) == 1040


def test_a_peer_pays_no_epoch_of_a_configuration_twice(benchmark: Any) -> None:
    from lcbench_peers import _Continued

    ledger = ledger_of(benchmark)
    training = _Continued(ledger=ledger)
    assert training.loss(PARAMS, 52 / 27) == pytest.approx(1 - 0.5 * 2 / 52)
    assert training.loss(PARAMS, 52 / 9) == pytest.approx(1 - 0.5 * 6 / 52)
    assert training.loss(PARAMS, 52 / 27) == pytest.approx(1 - 0.5 * 2 / 52)
    training.loss({**PARAMS, "momentum": 0.9}, 51.9999999999)
    assert (len(ledger.accuracies), training.num_trials) == (6 + 52, 2)


def test_names_of_our_methods(benchmark: Any) -> None:
    from lcbench_ours import OurMethod, our_method

    assert our_method("probe") == OurMethod(sampler=None)
    assert our_method("probe-cma-es@8") == OurMethod(sampler="cma-es", num_slots=8)
    assert [our_method(name) for name in ("probe-grid", "probe@0", "probe@x", "probe@", "random", "dehb@2")] == [
        None
    ] * 6
    expanded = benchmark.at_slots(["probe", "random", "probe-gp@2"], [1, 4])
    assert expanded == ["probe", "probe@4", "random", "probe-gp@2"]


def made_rows() -> pd.DataFrame:
    """Two data sets, two seeds; the rival is .1 and .3 behind on them, the third method has one search only."""
    rows = []
    for task, gap in (("a", 0.1), ("b", 0.3)):
        for seed in (0, 1):
            for method, regret in (("probe", 0.1), ("rival", 0.1 + gap + 0.05 * (2 * seed - 1))):
                rows.append(made_row(method, task, seed, regret))
    return pd.DataFrame(rows)


def made_row(method: str, task: str, seed: int, regret: float) -> dict[str, Any]:
    marks = {f"regret_{mark:g}": regret for mark in (0.05, 0.1, 0.25, 0.5, 1.0)}
    return {"method": method, "task": task, "seed": seed, "trials": 10, "epochs": 1040, "seconds": 2.0, **marks}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_differences_are_paired_and_their_error_is_over_data_sets(benchmark: Any) -> None:
    import lcbench_tables

    (line,) = lcbench_tables.differences(made_rows())[2:]
    assert cells(line) == ["rival", *["+0.200 ± 0.100"] * 3, "2"]  # .1 and .3: deviation .1414, over the root of 2
    alone = pd.DataFrame([made_row("rival", "a", 0, 0.3)])
    assert lcbench_tables.differences(alone) == []
    half = pd.concat([made_rows(), pd.DataFrame([made_row("third", "a", 1, 0.15)])])
    found = {cells(line)[0]: cells(line)[1:] for line in lcbench_tables.differences(half)[2:]}
    assert found["third"] == [*["+0.050"] * 3, "1"]


def test_means_and_ranks(benchmark: Any) -> None:
    import lcbench_tables

    rows = made_rows()
    assert [cells(line)[0] for line in lcbench_tables.means(rows)[2:]] == ["probe", "rival"]
    assert cells(lcbench_tables.means(rows)[3])[1:] == [*["0.300"] * 5, "10.0", "2.0", "4"]
    half = pd.concat([rows, pd.DataFrame([made_row("third", "a", 1, 0.15)])])
    head, _, *lines = lcbench_tables.mean_ranks(half)
    assert "1 searches" in head
    assert [cells(line) for line in lines] == [
        ["probe", "1.00", "1.00"],
        ["third", "2.00", "2.00"],
        ["rival", "3.00", "3.00"],
    ]


def test_a_csv_is_appended_to_and_read_again(
    benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "rows.csv", tmp_path / "page.md"
    for row in made_rows().to_dict("records"):
        benchmark.append_row(path, {**row, "task": {"a": "0012"}.get(row["task"], row["task"])})
    read = benchmark.read_rows(path)
    assert len(read) == 8
    assert set(read["task"]) == {"0012", "b"}  # a name stays a name
    benchmark.main(["--table", str(path), "--markdown", str(page)])
    printed = capsys.readouterr().out.strip()
    assert "+0.200 ± 0.100" in printed
    assert page.read_text().strip().endswith(printed)


def test_without_the_surrogate_it_is_skipped(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main(["--data", str(tmp_path)])
    assert capsys.readouterr().out.startswith("Skipped: --data must be a folder that holds model.onnx and tasks.json")
    benchmark.main([])
    assert "Skipped" in capsys.readouterr().out
    for name in ("model.onnx", "tasks.json"):
        (tmp_path / name).touch()
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    benchmark.main(["--data", str(tmp_path)])
    assert "pip install onnxruntime" in capsys.readouterr().out


def test_searches_are_the_ones_asked_for(benchmark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tasks.json").write_text('{"one": 3, "two": 5}')

    def asked(*given: str) -> list[tuple[str, str, int]]:
        args, parser = benchmark.parse_arguments(["--data", str(tmp_path), *given])
        return [(one.method, one.task, one.seed) for one in benchmark.searches(args, parser)]

    found = asked("--methods", "random", "probe", "--slots", "1", "2", "--seeds", "4")
    assert found == [(method, task, 4) for task in ("one", "two") for method in ("random", "probe", "probe@2")]
    assert asked("--methods", "random", "--tasks", "two") == [("random", "two", 0)]
    for wrong in (["--methods", "dehb@2"], ["--tasks", "three"], ["--slots", "0"]):
        with pytest.raises(SystemExit, match="2"):
            asked(*wrong)
    assert "three" in capsys.readouterr().err


def test_a_peer_whose_package_is_missing_is_left_out(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "smac", None)
    assert benchmark.usable(["random", "smac-multifidelity", "probe@2"]) == ["random", "probe@2"]
    assert "pip install smac" in capsys.readouterr().err
