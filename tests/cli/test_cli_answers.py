"""The last lines of a run, for results made by hand."""

from __future__ import annotations

from dataclasses import replace

from probe.batch.prediction_records import MemoryBreakdown, PredictedPeak, Prediction, PredictionInfo
from probe.batch.records import Alternative, Attempt, BatchComparison, BatchResult, Outcome, Purpose, Variant
from probe.cli.answers.answers import Rows, answer_rows, layout_rows
from probe.cli.answers.lr import describe_curve, describe_plan
from probe.diagnosis.diagnose import diagnose
from probe.lr.plan import plan_probe
from probe.lr.records import (
    Confirmation,
    ConfirmRun,
    FinderPicks,
    LossAt,
    LrComparison,
    LrCurve,
    LrPoint,
    LrResult,
    LrSuggestion,
)
from probe.lr.suggest import FREE_PASSES
from probe.records import DeviceMemory, MemoryReading, MemoryUser, RunMeta
from probe.search.records.importance import Importance
from probe.search.records.search import BestTrial, BudgetLimits, FinalTraining, Score, SearchResult, Spent, TrialResult
from probe.training.records import EpochReport

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
    training_steps=1200,
    passes=5.0,
    lowest_lr=1e-5,
    highest_lr=10.0,
    num_steps=2,
    suggestion=LrSuggestion(lr=0.0123, low=0.004, high=0.02),
    other_finders=FinderPicks(steepest=0.003, minimum_tenth=0.01, valley=None),
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
    scheduler="asha",
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
    importance={
        name: Importance(share=share, num_trials=12, num_compared=12)
        for name, share in (("lr", 0.8), ("optimizer", 0.2))
    },
    final=FinalTraining(epochs=8, seed=0, reports=()),
    test=Score(metric="accuracy", value=0.975, low=0.951, high=0.988, num_samples=360),
)


MIB, GIB = 2**20, 2**30


def prediction(gpu_bytes: int, largest: int | None) -> Prediction:
    """40 MiB a sample; batch size 1 would take 6 GiB where nothing fits."""
    activations = 6 * GIB if largest is None else largest * 40 * MIB
    parts = MemoryBreakdown(
        weights_bytes=32 * MIB,
        gradients_bytes=32 * MIB,
        optimizer_state_bytes=64 * MIB,
        data_bytes=0,
        activations_bytes=activations,
        workspace_bytes=0,
        cache_bytes=20 * MIB,
        context_bytes=512 * MIB,
    )
    peak = parts.total_bytes
    return Prediction(
        memory_bytes=gpu_bytes,
        largest_fit=largest,
        peak_bytes=peak,
        allocated_bytes=peak - 532 * MIB,
        breakdown=parts,
    )


PREDICTED = replace(
    BATCH,
    stopped_by="predicted",
    limit_bytes=None,
    largest_fit=None,
    recommended=None,
    attempts=(),
    prediction_info=PredictionInfo(traced_as="fake cpu", unseen=("scratch memory inside operators",), seconds=2.0),
    predictions=(prediction(4 * GIB, None), prediction(8 * GIB, 128), prediction(141 * GIB, 2048)),
)
COMPARISON = BatchComparison(
    meta=META,
    stopped_by="finished",
    task="cnn on images",
    optimizer="adamw",
    variants=tuple(
        Variant(image_size=size, precision="fp32", activation_checkpointing=False, result=result)
        for size, result in ((256, replace(BATCH, recommended=256)), (128, BATCH))
    ),
    seconds=24.6,
)


def test_batch() -> None:
    assert layout_rows(answer_rows(BATCH), width=100) == [
        "Answer    the largest batch that fits is 256 (confirmed); 128 is as fast, within 5 %",
        "Task      cnn on digits, adamw, fp32",
        "Device    CPU",
        "Evidence  batch 128 (throughput) fits: 1,000 samples/s, peak 128 MiB",
        "          batch 256 fits: 1,000 samples/s, peak 256 MiB",
        "          batch 512 runs out of memory",
        "Headroom  256 MiB (50 %) of 512 MiB left at batch 256",
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


def test_batch_quotes_the_error_that_ended_it_and_the_size_that_is_too_small() -> None:
    too_large = replace(attempt(512, "error"), message="RuntimeError: no engine\nmore of it")
    too_few = replace(attempt(2, "error"), message="ValueError: clips of 8")
    result = replace(BATCH, attempts=(too_large, *BATCH.attempts[1:], too_few), capped_by="error")
    shown = "\n".join(text for _, text in answer_rows(result) if isinstance(text, str))
    assert "batch 512 ends in an error: RuntimeError: no engine" in shown
    assert "counts as a limit" in shown
    assert "Batch 2 is too small for this task: ValueError: clips of 8" in shown
    assert "more of it" not in shown


def test_where_nothing_fits_both_kinds_of_failure_are_evidence() -> None:
    refused = replace(attempt(1, "error"), message="ValueError: one sample")
    result = replace(
        BATCH, attempts=(attempt(2, "oom"), refused), stopped_by="nothing_fits", largest_fit=None, recommended=None
    )
    rows = [text for _, text in answer_rows(result)]
    assert "batch 1 ends in an error: ValueError: one sample" in rows
    assert "batch 2 runs out of memory" in rows


def test_a_predicted_batch_is_a_table_of_cards() -> None:
    assert layout_rows(answer_rows(PREDICTED), width=100) == [
        "Answer    no GPU here, so this is predicted and not run: a batch of 128 should fit on a card of",
        "          8 GiB, one of 2,048 on a card of 141 GiB",
        "             card  batch     takes   weights  gradients  optimizer  activations  workspace     rest",
        "            4 GiB      -  6.64 GiB  32.0 MiB   32.0 MiB   64.0 MiB     6.00 GiB          0  532 MiB",
        "            8 GiB    128  5.64 GiB  32.0 MiB   32.0 MiB   64.0 MiB     5.00 GiB          0  532 MiB",
        "          141 GiB  2,048  80.6 GiB  32.0 MiB   32.0 MiB   64.0 MiB     80.0 GiB          0  532 MiB",
        "          Where no batch size is named, not even 1 fits: the row shows what it would take, 6.64 GiB.",
        "Task      cnn on digits, adamw, fp32",
        "Device    CPU",
        "Evidence  training steps traced without data (fake cpu)",
        "          not seen: scratch memory inside operators",
        "Next      run the same command on the GPU itself: it measures",
        "Cost      12.3 s",
    ]


def test_one_card_is_answered_in_one_sentence() -> None:
    rows = answer_rows(replace(PREDICTED, predictions=PREDICTED.predictions[1:2]))
    assert rows[0] == ("Answer", "the largest batch that should fit in 8 GiB is 128 (predicted, not run)")
    none = answer_rows(replace(PREDICTED, predictions=PREDICTED.predictions[:1]))
    assert any(label == "Instead" for label, _ in none)
    assert none[0][1] == (
        "nothing should fit in 4 GiB, not even a batch of 1, which would take 6.64 GiB (predicted, not run)"
    )


def test_a_narrow_terminal_gets_fewer_columns() -> None:
    for width in (60, 80):
        for result in (PREDICTED, COMPARISON):
            assert max(map(len, layout_rows(answer_rows(result), width=width))) <= width
    assert any("activations" in line for line in layout_rows(answer_rows(PREDICTED), width=80))


def test_a_prediction_is_evidence_beside_the_measurement() -> None:
    curve = tuple(PredictedPeak(batch_size=s, allocated_bytes=s * MIB, peak_bytes=s * MIB) for s in (128, 256))
    right = prediction(16 * GIB, 256)
    prediction_info = PredictionInfo(traced_as="fake cpu", curve=curve, seconds=1.0)
    rows = answer_rows(replace(BATCH, prediction_info=prediction_info, predictions=(right,)))
    assert ("", "predicted batch 256 with 256 MiB, 256 MiB measured (+0.0 %)") in rows
    failed = PredictionInfo(traced_as=None, failure="the step looks at a value.", seconds=1.0)
    assert ("", "no prediction: the step looks at a value.") in answer_rows(replace(BATCH, prediction_info=failed))


def test_what_is_odd_about_the_device_is_a_warning() -> None:
    memory = DeviceMemory(
        total_bytes=141 * GIB,
        others_bytes=3 * GIB,
        others=(MemoryUser(pid=7, name="python", used_bytes=2 * GIB),),
        context_bytes=128 * MIB,
        context_is_measured=True,
        emulated_bytes=512 * MIB,
        is_integrated=False,
    )
    rows = answer_rows(replace(BATCH, device_memory=memory))
    assert ("Headroom", "128 MiB (25 %) of 512 MiB left at batch 256") in rows
    warning = "Others use the device: python (pid 7, 2.00 GiB). The 3.00 GiB taken are subtracted."
    assert ("Warning", warning) in rows
    assert any(text.startswith("An emulation of a card of 512 MiB: ") for label, text in _texts(rows) if label == "")


def test_where_nothing_fits_the_plan_comes_with_the_answer() -> None:
    change = Alternative(change="bf16", largest_fit=4, peak_bytes=400 * MIB)
    none = replace(
        BATCH,
        stopped_by="nothing_fits",
        largest_fit=None,
        recommended=None,
        attempts=(attempt(1, "oom"),),
        alternatives=(change,),
    )
    lines = layout_rows(answer_rows(none), width=100)
    assert lines[1:3] == [
        "Instead   change  batch that should fit    takes",
        "          bf16                        4  400 MiB",
    ]
    assert "a batch of 32 with accumulation = 8" in " ".join(" ".join(lines[3:5]).split())


def test_a_comparison_is_a_table() -> None:
    assert layout_rows(answer_rows(COMPARISON), width=80) == [
        "Answer    the largest batch that fits is 256 in every case",
        "          in common: precision fp32, without checkpointing",
        "          image size  largest  recommended  images/s  megapixels/s  peak memory",
        "          256 x 256       256          256     1,000          65.5      256 MiB",
        "          128 x 128       256          128     1,000          16.4      256 MiB",
        "Task      cnn on images, adamw",
        "Device    CPU",
        "Cost      2 ways to train, 24.6 s",
    ]


def test_a_predicted_comparison_has_a_column_for_each_card() -> None:
    variants = tuple(replace(variant, result=PREDICTED) for variant in COMPARISON.variants)
    lines = layout_rows(answer_rows(replace(COMPARISON, stopped_by="predicted", variants=variants)), width=80)
    assert lines[2:5] == [
        "          image size  4 GiB  8 GiB  141 GiB",
        "          256 x 256       -    128    2,048",
        "          128 x 128       -    128    2,048",
    ]


def _texts(rows: Rows) -> list[tuple[str, str]]:
    return [(label, text) for label, text in rows if isinstance(text, str)]


def test_lr() -> None:
    assert layout_rows(answer_rows(LR), width=100) == [
        "Answer    learning rate 0.0123, good from 0.004 to 0.02",
        "          for a training of 1,200 steps, 5 passes over the data",
        "Task      cnn on digits, adamw, fp32, batch 64",
        "Device    CPU",
        "Evidence  the range test: where the loss has made 90 % of its drop",
        "          2 steps from 1e-05 to 0.1: smoothed loss from 2.3 down to 0.312 at 0.1; the loss blew up",
        "          at 0.1",
        "          other rules on this curve: steepest 0.003, minimum / 10 0.01, valley -",
        "Note      at another batch size it should grow or shrink with its square root (Malladi et al. 2022);",
        "          --batch 32,128,512 measures it",
        "Cost      2 training steps, 4.56 s",
    ]


def test_lr_that_runs_confirm() -> None:
    runs = (
        ConfirmRun(
            lr=0.01, num_steps=100, evaluations=(LossAt(step=100, loss=0.75),), finished=True, expected_loss=0.25
        ),
        ConfirmRun(lr=0.1, num_steps=25, evaluations=(), finished=False),
    )
    confirmation = Confirmation(measured_on="held_out", num_samples=287, initial_loss=2.3, planned_steps=100, runs=runs)
    result = replace(LR, depth="short", confirmation=confirmation, lr_schedule="cosine", num_steps=127)
    lines = layout_rows(answer_rows(result), width=100)
    assert lines[:6] == [
        "Answer    peak learning rate 0.0123, good from 0.004 to 0.02",
        "          for a training of 1,200 steps, 5 passes over the data at the peak learning rate",
        "Task      cnn on digits, adamw, fp32, batch 64, cosine schedule",
        "Device    CPU",
        "Evidence  2 runs of 100 steps, read on 287 samples held out of the training data: the lowest",
        "          learning rate that should end as well as the best",
    ]
    assert lines[9:12] == [
        "          learning rate  loss after 100  expected at the end",
        "                   0.01            0.75                 0.25",
        "                    0.1         blew up                    -",
    ]
    assert lines[-1] == "Cost      127 training steps, 4.56 s"


def test_lr_for_a_long_training_tells_what_it_was_divided_by() -> None:
    rows = answer_rows(replace(LR, passes=4 * FREE_PASSES, training_steps_assumed=True))
    assert rows[1] == (
        "",
        f"for a training of 1,200 steps (assumed; set it with --training-steps), {4 * FREE_PASSES:g} passes over the data: "
        "so many overfit at the range test's 0.0492, which is divided by 4",
    )


def test_learning_rates_of_several_optimizers_are_a_table() -> None:
    none = replace(LR, optimizer="sgd", suggestion=None, warnings=("The loss never fell.",), num_steps=1200)
    compared = LrComparison(
        meta=META, stopped_by="finished", task="cnn on digits", axis="optimizer", results=(LR, none), seconds=9.0
    )
    assert layout_rows(answer_rows(compared), width=80) == [
        "Answer    learning rates for 1 of 2 optimizers",
        "          optimizer  suggested  good from .. to  steps",
        "          adamw         0.0123    0.004 to 0.02      2",
        "          sgd                -                -  1,200",
        "Task      cnn on digits",
        "Device    CPU",
        "Warning   sgd: The loss never fell.",
        "Cost      1,202 training steps, 9.00 s",
    ]
    sizes = replace(compared, axis="batch_size", results=(LR,), stopped_by="interrupted")
    assert layout_rows(answer_rows(sizes), width=80)[:3] == [
        "Answer    learning rates for 1 of 1 batch size",
        "          batch size  suggested  good from .. to  steps",
        "          64             0.0123    0.004 to 0.02      2",
    ]


def test_a_plan_tells_what_it_may_cost() -> None:
    usual = {"lowest_lr": 1e-5, "highest_lr": 10.0}
    short = plan_probe(**usual, steps=None, repeats=1, confirm=False, training_steps=500)
    assert describe_plan(short) == "up to 300 training steps: a range test of 300"
    full = plan_probe(**usual, steps=60, repeats=3, confirm="full", training_steps=4000)
    assert describe_plan(full) == ("up to 5,180 training steps: 3 range tests of 60 each, then 5 runs of 1,000")


def test_a_range_test_without_a_step_is_described() -> None:
    assert describe_curve(LrCurve(seed=0, points=(), ended_by="non_finite")) == "no step was finished"


def test_lr_without_a_suggestion_warns() -> None:
    rows = answer_rows(replace(LR, suggestion=None, warnings=("The loss never fell.",)))
    assert rows[0] == ("Answer", "no learning rate between 1e-05 and 10 can be suggested")
    assert ("Warning", "The loss never fell.") in rows
    assert not any(label == "Note" for label, _ in rows)
    assert all("90 %" not in text for _, text in _texts(rows))


def test_search() -> None:
    assert layout_rows(answer_rows(SEARCH), width=100) == [
        "Answer    validation accuracy 98.61 %, trial 3:",
        "          lr = 0.01235, optimizer = adam",
        "Test      accuracy 97.50 % (95 % interval: 95.10 % to 98.80 %) on 360 samples never used before,",
        "          after a final fit of 8 epochs on train + validation",
        "Task      cnn on digits",
        "Device    CPU, 2 workers",
        "Evidence  2 trials: 1 diverged, 1 complete",
        "          the validation accuracy is the best of 2 trials, each at its best epoch: optimistic",
        "          matters most: lr 80 %, optimizer 20 %",
        "Cost      2 trials, 12 epochs (2 for probes) + 8 epochs of the final fit, 1 min 11 s; the budget of",
        "          trials was used up",
    ]


def test_search_says_what_the_winners_curves_show() -> None:
    losses = [(2.0 / epoch, 2.1 / epoch + 0.04 * max(0, epoch - 6)) for epoch in range(1, 28)]
    reports = [
        EpochReport(epoch=number, train_loss=train, val_loss=val, metrics={}, seconds=1.0)
        for number, (train, val) in enumerate(losses, 1)
    ]
    told = {}
    for num_epochs in (3, 27):
        rows = answer_rows(replace(SEARCH, diagnosis=diagnose(reports[:num_epochs], untrained_loss=2.3)))
        lines = layout_rows(rows, width=200)
        told[num_epochs] = [line.strip() for line in lines if "the winner:" in line]
    assert told[3] == ["the winner: too few epochs to judge its curves"]
    assert told[27] == [
        "the winner: clearly overfitting: the validation loss ended 156 % above its lowest, around epoch 7, "
        "while the training loss went on falling"
    ]


def test_search_warns_of_the_error_that_its_batch_probe_took_for_a_limit() -> None:
    too_large = replace(attempt(512, "crashed"), message="A worker process was killed by SIGSEGV\nits last words")
    probed = replace(BATCH, attempts=(too_large, *BATCH.attempts[1:]), capped_by="error")
    warnings = [text for label, text in answer_rows(replace(SEARCH, batch_probe=probed)) if label == "Warning"]
    assert len(warnings) == 1
    assert "Batch 512" in str(warnings[0])
    assert "killed by SIGSEGV" in str(warnings[0])
    assert "last words" not in str(warnings[0])


def test_search_says_why_it_took_its_sampler_and_scheduler() -> None:
    chosen = replace(SEARCH, sampler_reason="tpe, since lr is drawn", scheduler_reason="asha, since it saves epochs")
    evidence = [text for label, text in answer_rows(chosen) if label in ("Evidence", "")]
    assert evidence[-2:] == ["sampler: tpe, since lr is drawn", "ladder: asha, since it saves epochs"]
    assert not [text for _, text in answer_rows(SEARCH) if str(text).startswith(("sampler:", "ladder:"))]


def test_search_without_a_winner() -> None:
    none = replace(SEARCH, best=None, trials=(), test=None, final=None, stopped_by="interrupted", importance={})
    rows = answer_rows(none)
    assert rows[0] == ("Answer", "no trial was completed")
    assert ("Evidence", "no trial was started") in rows
    assert str(rows[-1][1]).endswith("; interrupted")


def test_a_number_and_its_unit_stay_together() -> None:
    assert layout_rows([("Answer", "it takes just about 8 GiB")], width=33) == [
        "Answer    it takes just about",
        "          8 GiB",
    ]


def test_long_words_are_not_broken() -> None:
    path = "reports/" + "x" * 120
    assert layout_rows([("Report", path)], width=40) == [f"Report    {path}"]
