"""The last lines of a run, for results made by hand."""

from __future__ import annotations

from dataclasses import replace

from probe.batch.records import Attempt, BatchResult, Outcome, Purpose
from probe.cli.answers import answer_rows, layout_rows
from probe.lr.records import LrCurve, LrPoint, LrResult, LrSuggestion
from probe.records import MemoryReading, RunMeta
from probe.search.records import BestTrial, BudgetLimits, FinalFit, Score, SearchResult, Spent, TrialResult

META = RunMeta(
    probe_version="0.1.0",
    python_version="3.12.1",
    torch_version="2.15.0",
    cuda_version=None,
    driver_version=None,
    platform="Linux",
    device="CPU",
    num_threads=1,
    seed=0,
    argv=("probe",),
    recipe_hash=None,
    started_at="2026-01-31T12:00:00+00:00",
)


def attempt(size: int, outcome: Outcome = "fits", purpose: Purpose = "size") -> Attempt:
    if outcome != "fits":
        return Attempt(batch_size=size, purpose=purpose, outcome=outcome, message="no")
    memory = MemoryReading(peak_allocated_bytes=size * 2**20, peak_reserved_bytes=size * 2**20)
    return Attempt(
        batch_size=size,
        purpose=purpose,
        outcome="fits",
        step_seconds=size / 1000,
        samples_per_second=1000.0,
        memory=memory,
    )


BATCH = BatchResult(
    meta=META,
    stopped_by="finished",
    task="cnn on digits",
    optimizer="adamw",
    precision="fp32",
    limit_bytes=2**29,
    num_samples=None,
    largest_fit=256,
    recommended=128,
    capped_by=None,
    attempts=(attempt(512, "oom"), attempt(256), attempt(128, purpose="throughput"), attempt(256, purpose="confirm")),
    seconds=12.3,
)
LR = LrResult(
    meta=META,
    stopped_by="finished",
    task="cnn on digits",
    optimizer="adamw",
    precision="fp32",
    batch_size=64,
    lowest_lr=1e-5,
    highest_lr=10.0,
    num_steps=2,
    suggestion=LrSuggestion(lr=0.0123, low=0.004, high=0.02),
    warnings=(),
    curves=(
        LrCurve(
            seed=0,
            points=(
                LrPoint(step=0, lr=1e-5, loss=2.3, smoothed_loss=2.3),
                LrPoint(step=1, lr=0.1, loss=0.3, smoothed_loss=0.312),
            ),
            ended_by="diverged",
        ),
    ),
    seconds=4.56,
)
TRIAL = TrialResult(
    number=3,
    params={"lr": 0.0123456, "optimizer": "adam"},
    seed=0,
    status="complete",
    value=0.98611,
    epochs=9,
    reports=(),
    rungs=(1, 3, 9),
    seconds=9.0,
)
SEARCH = SearchResult(
    meta=META,
    stopped_by="trials",
    name="digits",
    recipe="schema = 1",
    task="cnn on digits",
    metric="accuracy",
    mode="max",
    sampler="tpe",
    ladder="asha",
    rungs=(1, 3, 9),
    space=(),
    constants={},
    limits=BudgetLimits(trials=2),
    spent=Spent(trials=2, epochs=12, probe_epochs=2, seconds=71.0, final_epochs=8),
    num_workers=2,
    batch_probe=None,
    lr_probes={},
    trials=(replace(TRIAL, number=0, value=None, status="diverged"), TRIAL),
    best=BestTrial(number=3, params=TRIAL.params, value=0.98611),
    importance={"lr": 0.8, "optimizer": 0.2},
    final=FinalFit(epochs=8, seed=0, reports=()),
    test=Score(metric="accuracy", value=0.975, low=0.951, high=0.988, num_samples=360),
)


def test_batch() -> None:
    assert layout_rows(answer_rows(BATCH), width=100) == [
        "Answer    the largest batch that fits is 256 (confirmed); 128 is as fast, within 5 %",
        "Task      cnn on digits, adamw, fp32",
        "Device    CPU",
        "Evidence  batch 128 (throughput) fits: 1,000 samples/s, peak 128 MiB",
        "          batch 256 fits: 1,000 samples/s, peak 256 MiB",
        "          batch 512 runs out of memory",
        "Cost      4 attempts, 12.3 s",
    ]


def test_batch_where_nothing_fits() -> None:
    none = replace(BATCH, stopped_by="nothing_fits", largest_fit=None, recommended=None, attempts=(attempt(1, "oom"),))
    rows = answer_rows(none)
    assert rows[0] == ("Answer", "nothing fits, not even a batch of 1")
    assert ("Evidence", "batch 1 runs out of memory") in rows


def test_batch_at_a_cap_says_what_stopped_it() -> None:
    rows = answer_rows(replace(BATCH, recommended=256, capped_by="data"))
    assert rows[0][1] == "the largest batch that fits is 256 (confirmed); no smaller one is as fast"
    assert ("", "Larger batches were not tried: the training set has no more samples.") in rows


def test_lr() -> None:
    assert layout_rows(answer_rows(LR), width=100) == [
        "Answer    learning rate 0.0123, where the loss has made 90 % of its drop (80 % at 0.004, its minimum",
        "          at 0.02)",
        "Task      cnn on digits, adamw, fp32, batch 64",
        "Device    CPU",
        "Evidence  2 steps from 1e-05 to 0.1: smoothed loss from 2.3 down to 0.312 at 0.1; the loss diverged",
        "          at 0.1",
        "Cost      2 training steps, 4.56 s",
    ]


def test_lr_without_a_suggestion_warns() -> None:
    rows = answer_rows(replace(LR, suggestion=None, warnings=("The loss never fell.",)))
    assert rows[0] == ("Answer", "no suggestion")
    assert ("Warning", "The loss never fell.") in rows


def test_search() -> None:
    assert layout_rows(answer_rows(SEARCH), width=100) == [
        "Answer    validation accuracy 98.61 %, trial 3:",
        "          lr = 0.01235, optimizer = adam",
        "Test      accuracy 97.50 % (95 % interval: 95.10 % to 98.80 %) on 360 samples never used before,",
        "          after a final fit of 8 epochs on train + validation",
        "Task      cnn on digits",
        "Device    CPU, 2 workers",
        "Evidence  2 trials: 1 diverged, 1 complete",
        "          matters most: lr 80.00 %, optimizer 20.00 %",
        "Cost      2 trials, 12 epochs (2 for probes) + 8 epochs of the final fit, 1 min 11 s; the budget of",
        "          trials was used up",
    ]


def test_search_without_a_winner() -> None:
    none = replace(SEARCH, best=None, trials=(), test=None, final=None, stopped_by="interrupted", importance={})
    rows = answer_rows(none)
    assert rows[0] == ("Answer", "no trial was completed")
    assert ("Evidence", "no trial was started") in rows
    assert rows[-1][1].endswith("; interrupted")


def test_long_words_are_not_broken() -> None:
    path = "reports/" + "x" * 120
    assert layout_rows([("Report", path)], width=40) == [f"Report    {path}"]
