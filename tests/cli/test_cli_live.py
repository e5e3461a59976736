"""Live views and plain lines of given records, at the width of a usual terminal."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import pytest
from rich.console import Console

from probe.batch.decide import NextAttempt
from probe.batch.prediction_records import PredictedPeak, PredictionInfo
from probe.batch.records import Attempt, LoaderSpeed
from probe.cli.live.lines import PlainLines
from probe.cli.live.progress import wants_live
from probe.cli.live.views import BatchView, LrView, SearchView, View, sparkline
from probe.lr.plan import LrPlan, plan_probe
from probe.lr.records import ConfirmRun, LossAt, LrProgress
from probe.records import MemoryReading
from probe.search.records.cluster import SlotUse
from probe.search.records.search import BestTrial, BudgetLimits, RunningTrial, SearchProgress, Spent, TrialResult
from probe.training.records import EpochReport

FITS = Attempt(
    batch_size=256,
    purpose="size",
    outcome="fits",
    num_steps=3,
    step_seconds=0.2,
    samples_per_second=1280.0,
    memory=MemoryReading(peak_allocated_bytes=900 * 2**20, peak_reserved_bytes=912 * 2**20),
)
PREDICTION_INFO = PredictionInfo(
    traced_as="fake cpu",
    curve=tuple(PredictedPeak(batch_size=s, allocated_bytes=s * 2**21, peak_bytes=s * 2**22) for s in (64, 128, 256)),
)
LR_PLAN: LrPlan = plan_probe(lowest_lr=1e-5, highest_lr=10.0, steps=None, repeats=1, confirm=True, training_steps=1000)
LR_RUN = ConfirmRun(
    lr=0.01, num_steps=100, evaluations=(LossAt(step=25, loss=2.0), LossAt(step=100, loss=0.75)), finished=True
)
DIVERGED = ConfirmRun(lr=0.1, num_steps=25, evaluations=(), finished=False)
TOO_LARGE = Attempt(batch_size=512, purpose="size", outcome="oom", message="out of memory")
TRIAL = TrialResult(
    number=7,
    params={"lr": 0.0123456, "name": "[bold]not markup[/bold]"},
    seed=1,
    status="stopped",
    value=0.9543,
    epochs=3,
    reports=(),
    rungs=(1, 3),
    seconds=1.0,
)
PROGRESS = SearchProgress(
    stage="search",
    spent=Spent(trials=12, epochs=103, probe_epochs=9, seconds=34.0),
    limits=BudgetLimits(trials=40, epochs=300, time_seconds=120),
    running=(
        RunningTrial(number=13, params={"dropout": 0.1, "lr": 0.0032, "optimizer": "adam"}, epoch=1, epochs_to=3),
        RunningTrial(number=14, params={f"a_long_name_{i}": i for i in range(9)}, epoch=0, epochs_to=1, place="cuda:1"),
    ),
    best=BestTrial(number=7, params={"lr": 0.0103}, value=0.9792),
)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def picture(view: View, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(view.draw())
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert all(len(line) <= width for line in lines)
    return lines


def test_attempts_become_rows_above_a_spinner() -> None:
    view = BatchView()
    assert "predicting, 0 s" in picture(view)[0]
    view.update(TOO_LARGE)
    view.update(FITS)
    lines = picture(view)
    assert lines[0].split() == ["batch", "purpose", "outcome", "samples/s", "peak", "memory"]
    assert lines[1].split()[:2] == ["512", "size"]
    assert lines[2].split() == ["256", "size", "fits", "1,280", "912", "MiB"]
    assert "next attempt" in lines[3]
    view.running = False
    assert picture(view) == lines[:3]


def test_a_prediction_and_the_next_attempt_are_shown() -> None:
    view = BatchView()
    view.update(PREDICTION_INFO)
    assert "512 MiB" in picture(view)[0]
    assert "first attempt, 0 s" in picture(view)[1]
    view.update(NextAttempt(256, "size"))
    assert "trying batch 256, 0 s" in picture(view)[-1]
    view.update(FITS)
    view.update(NextAttempt(256, "confirm"))
    lines = picture(view)
    assert lines[2].split()[0] == "256"
    assert "trying batch 256 (confirm), 0 s" in lines[3]


def test_each_variant_has_its_own_table() -> None:
    view = BatchView()
    for title, attempt in (("512 x 512, fp32", TOO_LARGE), ("256 x 256, fp32", FITS)):
        view.update(title)
        assert "loading, 0 s" in picture(view)[-1]
        view.update(attempt)
    view.running = False
    assert [line.split()[0] for line in picture(view)] == ["512", "batch", "512", "256", "batch", "256"]


def test_the_data_loader_has_lines_of_its_own() -> None:
    view = BatchView()
    for record in ("fp32", FITS, "data loader", LoaderSpeed(num_workers=2, batch_size=8, samples_per_second=1500.0)):
        view.update(record)
    lines = picture(view)
    assert [lines[0], *lines[-3:-1]] == ["fp32", "data loader", "1,500 samples/s with 2 workers"]


def test_a_batch_view_without_records_is_empty() -> None:
    view = BatchView()
    view.running = False
    assert "".join(picture(view)) == ""


def test_a_range_test_is_a_bar_with_its_loss() -> None:
    view = LrView()
    assert "loading" in picture(view)[0]
    for step in range(10, 160, 10):
        view.update(LrProgress(step=step, num_steps=300, lr=1e-5 * step, loss=3.0 - step / 100))
    bar, spark = picture(view)
    assert " ".join(bar.split()).endswith(" range test: 150 of 300 steps lr 0.0015 loss 1.5")
    assert (spark[0], spark[-1], len(spark)) == ("█", "▁", 15)


def test_a_learning_rate_probe_shows_its_plan_and_the_runs_that_are_finished() -> None:
    view = LrView()
    view.update(LR_PLAN)
    lines = picture(view)
    assert "700" in lines[0]
    assert "loading" in lines[1]
    view.update(LrProgress(step=10, num_steps=200, lr=1e-4, loss=2.0))
    view.update(LR_RUN)
    view.update(DIVERGED)
    for step in (25, 50):
        phase = "run at 1"
        view.update(
            LrProgress(step=step, num_steps=100, lr=1.0, loss=3.0 - step / 50, phase=phase, is_range_test=False)
        )
    lines = picture(view)
    assert "0.75" in lines[1]
    assert "25 steps" in lines[2]
    assert " ".join(lines[3].split()).endswith(" run at 1: 50 of 100 steps lr 1 loss 2")
    assert lines[4] == "█▁"  # the course of this run alone
    assert len(lines) == 5


def test_variants_are_shown_one_after_the_other() -> None:
    view = LrView()
    for name in ("optimizer sgd", "optimizer adam"):
        view.update(name)
        assert picture(view)[0] == name
        assert "loading" in picture(view)[-1]
        view.update(LR_PLAN)
        view.update(LrProgress(step=10, num_steps=200, lr=1e-4, loss=2.0))
    lines = picture(view)
    assert lines[0] == "optimizer adam"
    assert "700" in lines[1]
    assert "sgd" not in " ".join(lines)
    assert all(len(line) <= 80 for line in picture(view, 80))


def test_a_search_shows_budget_running_best_and_latest() -> None:
    view = SearchView(constants={"dropout"})
    assert "loading" in picture(view)[0]
    view.update(PROGRESS)
    view.update(TRIAL)
    lines = picture(view)
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == [
        "trials",
        "epochs",
        "time",
        "running",
        "best",
        "last",
    ]
    assert lines[1].endswith("12 of 40")
    assert lines[2].endswith("103 of 300")
    assert lines[3].endswith("34.0 s of 2 min 00 s")
    assert "trial 13  epoch 2 of 3  lr 0.0032, optimizer adam" in lines[4]
    assert "trial 14  cuda:1  epoch 1 of 1  a_long_name_0 0" in lines[5]
    assert lines[5].endswith("…")
    assert "trial 7  0.9792  lr 0.0103" in lines[6]
    assert "[bold]not markup" in lines[7]


def test_stages_are_named() -> None:
    view = SearchView()
    spent = Spent(trials=0, epochs=0, probe_epochs=0, seconds=0.0)
    for stage, text in (("batch", "batch size"), ("final", ": 9 epochs")):
        message = "9 epochs" if stage == "final" else None
        view.update(SearchProgress(stage=stage, spent=spent, limits=BudgetLimits(trials=1), message=message))  # type: ignore[arg-type]  # a literal out of a loop
        assert text in picture(view)[0]


@pytest.mark.parametrize(
    ("values", "blocks"), [([], ""), ([1.0], "▁"), ([0.0, 7.0], "▁█"), ([0.0, 0.0, 7.0, 7.0, 0.0, 0.0], "▁█▁")]
)
def test_sparkline(values: list[float], blocks: str) -> None:
    assert sparkline(values, 3) == blocks


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show = PlainLines()
    epoch = EpochReport(epoch=2, train_loss=0.25, val_loss=None, metrics={}, seconds=1.0)
    steps = [LrProgress(step=step, num_steps=300, lr=1e-3, loss=2.0) for step in (10, 50, 60)]
    read = LrProgress(step=50, num_steps=100, lr=0.01, loss=1.0, phase="run at 0.01", is_range_test=False)
    failed = PredictionInfo(traced_as=None, failure="the step looks at a value.")
    predicted = [PREDICTION_INFO, failed, PredictionInfo(traced_as="fake cpu"), NextAttempt(512, "size")]
    lr = ["optimizer sgd", LR_PLAN, *steps, read, LR_RUN, DIVERGED]
    for record in ["512 x 512, fp32", *predicted, TOO_LARGE, FITS, *lr, PROGRESS, PROGRESS, PROGRESS, TRIAL, epoch]:
        show(record)
    lines = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    # Left out: a prediction without a curve, a planned attempt, steps that are no multiple of 50, evaluations, no news.
    facts = ["512 x 512", "128", "looks at a value", "512", "256", "sgd", "700", "50 of 300", "0.75", "0.1"]
    facts += ["searching", "trial 7", "0.9543", "epoch 2"]
    assert len(lines) == len(facts)
    assert [fact for fact, line in zip(facts, lines, strict=True) if fact not in line] == []


@pytest.mark.parametrize(
    ("environ", "live"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
    ],
    ids=itertools.count(),
)
def test_live_views_need_a_terminal_that_can_redraw(environ: dict[str, str], live: bool) -> None:
    assert wants_live(_Terminal(), environ) is live
    assert not wants_live(io.StringIO(), environ)


def test_slots_are_shown_if_there_are_several() -> None:
    view = SearchView()
    use = SlotUse(num_slots=8, num_nodes=2, utilization=0.97, num_retries=1)
    view.update(replace(PROGRESS, slots=use))
    [line] = [line for line in picture(view) if "slot" in line]
    assert line.split(maxsplit=1)[0] == "on"
    assert "2 nodes, 8 slots" in line
    view.update(replace(PROGRESS, slots=SlotUse(num_slots=1, num_nodes=None, utilization=0.97, num_retries=0)))
    assert not any("slot" in line for line in picture(view))


def test_plain_lines_show_when_a_cluster_grows_or_shrinks(capsys: pytest.CaptureFixture[str]) -> None:
    show = PlainLines()
    local = SlotUse(num_slots=4, num_nodes=None, utilization=0.5, num_retries=0)
    for slots in (None, local, replace(local, num_nodes=2), replace(local, num_nodes=2, utilization=0.6)):
        show(replace(PROGRESS, best=None, slots=slots))
    show(replace(PROGRESS, best=None, slots=replace(local, num_nodes=1, num_slots=2, num_retries=1)))
    lines = [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 3
    assert "2 nodes, 4 slots" in lines[1]
    assert "1 node, 2 slots" in lines[2]
