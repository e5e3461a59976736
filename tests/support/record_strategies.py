"""Any valid result, as hypothesis strategies: small, and as odd as the records allow."""

from __future__ import annotations

from typing import Any, Literal, get_args

from hypothesis import strategies as st
from made_records import META

from probe.batch.prediction_records import (
    Contradiction,
    ContradictionKind,
    MemoryBreakdown,
    PredictedPeak,
    Prediction,
    PredictionInfo,
    TraceCheck,
)
from probe.batch.records import (
    Alternative,
    Attempt,
    BatchComparison,
    BatchResult,
    LoaderSpeed,
    MemoryGrowth,
    Outcome,
    SampleCoverage,
    Variant,
)
from probe.lr.records import (
    Confirmation,
    ConfirmRun,
    CurveEnd,
    FinderPicks,
    LossAt,
    LrComparison,
    LrCurve,
    LrPoint,
    LrResult,
    LrSuggestion,
    Raised,
)
from probe.records import DeviceMemory, MemoryReading, MemoryUser
from probe.search.records.cluster import ClusterUse, NodeInfo, SlotUse
from probe.search.records.search import (
    BaselineScore,
    BestTrial,
    BudgetLimits,
    Dimension,
    FinalTraining,
    Importance,
    ParamValue,
    Score,
    SearchResult,
    Spent,
    Status,
    TrialResult,
    ValueInterval,
)
from probe.single.records import TrainEnd, TrainResult
from probe.training.records import (
    CurveEvidence,
    Diagnosis,
    DiagnosisKind,
    EpochReport,
    SplitScore,
    TrainingSummary,
    WeightCounts,
)

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
positive = st.floats(min_value=1e-9, max_value=1e9)
texts = st.text(max_size=8)
amounts = st.integers(0, 2**40)
values: st.SearchStrategy[ParamValue] = st.booleans() | st.integers(-100, 100) | finite | texts
params = st.dictionaries(texts, values, max_size=3)


@st.composite
def importances(draw: st.DrawFn) -> Importance:
    num_trials = draw(st.integers(10, 300))
    return Importance(
        share=draw(st.floats(0, 1)), num_trials=num_trials, num_compared=draw(st.integers(num_trials, 300))
    )


@st.composite
def readings(draw: st.DrawFn) -> MemoryReading:
    allocated = draw(st.integers(0, 2**40))
    return MemoryReading(
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=allocated + draw(st.integers(0, 2**30)),
        device_used_bytes=draw(st.none() | st.integers(0, 2**40)),
        num_alloc_retries=draw(st.integers(0, 3)),
    )


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    outcome: Outcome = draw(st.sampled_from(["fits", "fits", "oom", "thrashes", "kernel_limit", "error", "crashed"]))
    fits = outcome == "fits"
    return Attempt(
        batch_size=2 ** draw(st.integers(0, 12)),
        purpose=draw(st.sampled_from(["size", "throughput", "confirm"])),
        outcome=outcome,
        num_steps=draw(st.integers(0, 20)),
        step_seconds=draw(positive) if fits else None,
        step_seconds_low=draw(st.none() | positive) if fits else None,
        step_seconds_high=draw(st.none() | positive) if fits else None,
        samples_per_second=draw(positive) if fits else None,
        host_seconds=draw(st.none() | positive) if fits else None,
        memory=draw(st.none() | readings()),
        host_peak_bytes=draw(st.none() | amounts),
        message=draw(st.none() | texts),
        traceback=draw(st.none() | texts),
        num_samples=draw(st.integers(0, 10**6)),
        num_batches=draw(st.integers(0, 1000)),
        batches_per_epoch=draw(st.none() | st.integers(1, 1000)),
        growth=draw(st.none() | growths),
    )


loader_speeds = st.builds(
    LoaderSpeed,
    num_workers=st.integers(0, 64),
    batch_size=st.integers(1, 1024),
    num_batches=st.integers(0, 1000),
    samples_per_second=st.none() | positive,
    failure=st.none() | texts,
)
growths = st.builds(MemoryGrowth, bytes_per_step=positive, last_step=st.integers(1, 10**6))
coverages = st.builds(
    SampleCoverage,
    split=st.sampled_from(["train", "val"]),
    num_samples=st.integers(1, 10**6),
    num_measured=st.integers(0, 10**6),
    ranked_by=st.lists(texts, max_size=3).map(tuple),
    unmeasured=st.lists(texts, max_size=2).map(tuple),
)


@st.composite
def device_memories(draw: st.DrawFn) -> DeviceMemory:
    users = st.builds(MemoryUser, pid=st.integers(1, 99999), name=st.none() | texts, used_bytes=st.none() | amounts)
    return DeviceMemory(
        total_bytes=draw(amounts),
        others_bytes=draw(amounts),
        others=tuple(draw(st.lists(users, max_size=2))),
        context_bytes=draw(amounts),
        context_is_measured=draw(st.booleans()),
        emulated_bytes=draw(st.none() | amounts),
        is_integrated=draw(st.booleans()),
    )


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    part = st.integers(0, 2**34)
    parts = MemoryBreakdown(**{name: draw(part) for name in MemoryBreakdown.__slots__})
    peak = parts.total_bytes
    fits = peak > 0 and draw(st.booleans())
    return Prediction(
        memory_bytes=peak + draw(st.integers(0, 2**36)) if fits else draw(st.integers(1, 2**40)),
        largest_fit=2 ** draw(st.integers(0, 20)) if fits else None,
        peak_bytes=peak,
        allocated_bytes=draw(st.integers(0, peak)),
        is_traced=draw(st.booleans()),
        breakdown=parts,
    )


checks = st.builds(TraceCheck, batch_size=st.integers(1, 4096), expected_bytes=amounts, traced_bytes=amounts)


@st.composite
def prediction_infos(draw: st.DrawFn) -> PredictionInfo:
    if draw(st.booleans()):
        return PredictionInfo(traced_as=None, failure=draw(texts), seconds=draw(positive))
    sizes = [2**power for power in range(draw(st.integers(0, 12)))]
    return PredictionInfo(
        traced_as="fake cpu",
        unseen=tuple(draw(st.lists(texts, max_size=2))),
        curve=tuple(
            PredictedPeak(batch_size=size, allocated_bytes=draw(amounts), peak_bytes=draw(amounts)) for size in sizes
        ),
        checks=tuple(draw(st.lists(checks, max_size=3))),
        seconds=draw(positive),
    )


contradictions = st.builds(
    Contradiction,
    kind=st.sampled_from(get_args(ContradictionKind)),
    batch_size=st.integers(1, 4096),
    predicted_bytes=st.none() | amounts,
    measured_bytes=st.none() | amounts,
)
alternatives = st.builds(Alternative, change=texts, largest_fit=st.integers(1, 4096), peak_bytes=amounts)


@st.composite
def batch_results(draw: st.DrawFn, *, predicted: bool | None = None) -> BatchResult:
    is_predicted = draw(st.booleans()) if predicted is None else predicted
    tried = () if is_predicted else tuple(draw(st.lists(attempts(), max_size=5)))
    sizes = st.sampled_from([None, *(attempt.batch_size for attempt in tried if attempt.fits)])
    endings = ["predicted"] if is_predicted else ["finished", "nothing_fits", "interrupted", "error"]
    return BatchResult(
        meta=META,
        stopped_by=draw(st.sampled_from(endings)),
        task=draw(texts),
        optimizer=draw(texts),
        precision=draw(st.sampled_from(["fp32", "bf16"])),
        limit_bytes=draw(st.none() | st.integers(1, 2**40)),
        num_samples=draw(st.none() | st.integers(1, 10**6)),
        samples=tuple(draw(st.lists(coverages, max_size=2))),
        largest_fit=draw(sizes),
        recommended=draw(sizes),
        capped_by=draw(st.sampled_from([None, "max", "data", "kernel_limit", "error"])),
        attempts=tried,
        device_memory=draw(st.none() | device_memories()),
        prediction_info=draw(st.none() | prediction_infos()),
        predictions=tuple(draw(st.lists(predictions(), max_size=3))),
        contradictions=tuple(draw(st.lists(contradictions, max_size=2))),
        alternatives=tuple(draw(st.lists(alternatives, max_size=2))),
        seconds=draw(positive),
    )


@st.composite
def comparisons(draw: st.DrawFn) -> BatchComparison:
    predicted = draw(st.booleans() | st.none())
    variants = [
        Variant(
            image_size=draw(st.none() | st.integers(1, 1024)),
            precision=draw(st.sampled_from(["fp32", "bf16"])),
            activation_checkpointing=draw(st.booleans()),
            channels_last=draw(st.booleans()),
            compile=draw(st.booleans()),
            result=draw(batch_results(predicted=predicted)),
        )
        for _ in range(draw(st.integers(0, 3)))
    ]
    return BatchComparison(
        meta=META,
        stopped_by=draw(st.sampled_from(["finished", "predicted", "interrupted", "error"])),
        task=draw(texts),
        optimizer=draw(texts),
        variants=tuple(variants),
        loader=tuple(draw(st.lists(loader_speeds, max_size=2))),
        seconds=draw(positive),
    )


@st.composite
def lr_curves(draw: st.DrawFn) -> LrCurve:
    lrs = sorted(draw(st.sets(st.floats(min_value=1e-7, max_value=100.0), max_size=6)))
    points = tuple(
        LrPoint(step=step, lr=lr, loss=draw(finite), smoothed_loss=draw(finite)) for step, lr in enumerate(lrs)
    )
    ended_by: CurveEnd = draw(st.sampled_from(["finished", "diverged", "non_finite", "raised", "interrupted"]))
    extra = draw(st.integers(0, 3))
    raised = draw(raised_errors) if ended_by == "raised" else None
    return LrCurve(seed=draw(st.integers(0, 5)), points=points, ended_by=ended_by, raised=raised, num_extra_steps=extra)


lrs = st.floats(min_value=1e-5, max_value=10.0)
raised_errors = st.builds(Raised, lr=lrs, error=texts, hint=st.none() | texts, was_checked=st.booleans())
picks = st.builds(FinderPicks, steepest=st.none() | lrs, minimum_tenth=st.none() | lrs, valley=st.none() | lrs)


@st.composite
def confirm_runs(draw: st.DrawFn, lr: float) -> ConfirmRun:
    steps = sorted(draw(st.sets(st.integers(1, 500), max_size=4)))
    return ConfirmRun(
        lr=lr,
        num_steps=draw(st.integers(1, 500)),
        evaluations=tuple(LossAt(step=step, loss=draw(finite)) for step in steps),
        finished=draw(st.booleans()),
        raised=draw(st.none() | raised_errors),
        expected_loss=draw(st.none() | finite),
    )


@st.composite
def confirmations(draw: st.DrawFn) -> Confirmation:
    tried = sorted(draw(st.sets(lrs, min_size=1, max_size=4)))
    return Confirmation(
        measured_on=draw(st.sampled_from(["validation", "held_out"])),
        num_samples=draw(st.integers(1, 10**6)),
        initial_loss=draw(finite),
        planned_steps=draw(st.integers(1, 10**6)),
        runs=tuple(draw(confirm_runs(lr)) for lr in tried),
    )


@st.composite
def lr_results(draw: st.DrawFn) -> LrResult:
    low, lr, high = sorted(draw(lrs) for _ in range(3))
    return LrResult(
        meta=META,
        stopped_by=draw(st.sampled_from(["finished", "interrupted"])),
        task=draw(texts),
        optimizer=draw(texts),
        precision="fp32",
        batch_size=draw(st.integers(1, 4096)),
        lr_schedule=draw(st.sampled_from(["constant", "cosine"])),
        training_steps=draw(st.none() | st.integers(1, 10**7)),
        training_steps_assumed=draw(st.booleans()),
        passes=draw(st.just(0.0) | st.floats(1e-6, 1e4)),
        depth=draw(st.sampled_from(["range_test", "short", "full"])),
        lowest_lr=1e-5,
        highest_lr=10.0,
        ramp_steps=draw(st.integers(0, 500)),
        num_steps=draw(st.integers(0, 1000)),
        suggestion=draw(st.sampled_from([None, LrSuggestion(lr=lr, low=low, high=high)])),
        warnings=tuple(draw(st.lists(texts, max_size=2))),
        other_finders=draw(st.none() | picks),
        curves=tuple(draw(st.lists(lr_curves(), max_size=3))),
        confirmation=draw(st.none() | confirmations()),
        seconds=draw(positive),
    )


@st.composite
def lr_comparisons(draw: st.DrawFn) -> LrComparison:
    return LrComparison(
        meta=META,
        stopped_by=draw(st.sampled_from(["finished", "interrupted", "error"])),
        task=draw(texts),
        axis=draw(st.sampled_from(["optimizer", "batch_size"])),
        results=tuple(draw(st.lists(lr_results(), min_size=1, max_size=3))),
        seconds=draw(positive),
    )


@st.composite
def epoch_reports(draw: st.DrawFn, epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        train_loss=draw(finite),
        val_loss=draw(st.none() | finite),
        metrics=draw(st.dictionaries(st.sampled_from(["accuracy", "f1 | $x$", "mse"]), finite, max_size=2)),
        seconds=draw(positive),
    )


@st.composite
def weight_counts(draw: st.DrawFn) -> WeightCounts:
    zero, near, every = sorted(draw(st.integers(0, 100)) for _ in range(3))
    return WeightCounts(num_weights=every, num_zero=zero, num_near_zero=near)


@st.composite
def training_summaries(draw: st.DrawFn) -> TrainingSummary:
    names = draw(st.sets(st.sampled_from(["accuracy", "f1 | $x$", "mse"]), max_size=2))
    numbers = st.floats(-1e6, 1e6)
    parts = [
        SplitScore(loss=draw(numbers), metrics={name: draw(numbers) for name in sorted(names)}, num_samples=5)
        for _ in range(2)
    ]
    return TrainingSummary(epoch=draw(st.integers(1, 99)), train=parts[0], val=parts[1], weights=draw(weight_counts()))


@st.composite
def diagnoses(draw: st.DrawFn) -> Diagnosis:
    kinds: list[DiagnosisKind] = [
        "too_few_epochs",
        "unstable",
        "underfitting",
        "overfitting",
        "still_improving",
        "plateau",
        "healthy",
    ]
    kind = draw(st.sampled_from(kinds))
    maybe = st.none() | finite
    has_validation = draw(st.booleans())
    evidence = CurveEvidence(
        num_epochs=draw(st.integers(6, 100)),
        recent_epochs=draw(st.integers(3, 40)),
        start_loss=draw(finite),
        start_is_untrained=draw(st.booleans()),
        train_loss=draw(finite),
        val_loss=draw(finite) if has_validation else None,
        best_val_loss=draw(finite) if has_validation else None,
        best_epoch=draw(st.integers(1, 100)) if has_validation else None,
        rise=draw(st.floats(0, 1e6)) if has_validation else None,
        train_change_since_best=draw(finite) if has_validation else None,
        recent_change=draw(st.floats(-0.9, 1e6)),
        gap=draw(finite) if has_validation else None,
        swing=draw(st.floats(0, 1e6)),
        progress=draw(maybe),
        train_progress=draw(maybe),
        metric_progress=draw(maybe),
        metric_has_worsened=draw(st.none() | st.booleans()),
    )
    return Diagnosis(
        kind=kind,
        confidence=draw(st.sampled_from(["high", "moderate", "low"])),
        remedies=tuple(draw(st.lists(texts | st.just("Try `lr = 0.1` | or *this*."), max_size=2))),
        evidence=None if kind == "too_few_epochs" else evidence,
    )


@st.composite
def trial_results(draw: st.DrawFn, number: int) -> TrialResult:
    status: Status = draw(
        st.sampled_from(["complete", "stopped", "oom", "host_oom", "diverged", "infeasible", "timeout", "crashed"])
    )
    valued = status in ("complete", "stopped") or (status == "timeout" and draw(st.booleans()))
    num_lost = draw(st.integers(0, 1))
    num_reports = draw(st.integers(0, 4))
    return TrialResult(
        number=number,
        params=draw(params),
        seed=draw(st.integers(0, 2**63)),
        status=status,
        value=draw(finite) if valued else None,
        epochs=num_reports + num_lost,
        lost_epochs=num_lost,
        gradient_accumulation=draw(st.none() | st.integers(2, 64)),
        reports=tuple(draw(epoch_reports(epoch)) for epoch in range(1, num_reports + 1)),
        rungs=(),
        seconds=draw(positive),
        memory=draw(st.none() | readings()),
        message=draw(st.none() | texts),
        summary=draw(st.none() | training_summaries()),
    )


@st.composite
def dimensions(draw: st.DrawFn) -> Dimension:
    kind: Literal["float", "int", "pow2", "choices"] = draw(st.sampled_from(["float", "int", "pow2", "choices"]))
    ends: dict[str, Any] = {"low": draw(finite), "high": draw(finite)} if kind != "choices" else {}
    return Dimension(
        name=draw(texts),
        kind=kind,
        log=draw(st.booleans()),
        choices=tuple(draw(st.lists(values, max_size=3))) if kind == "choices" else (),
        when=draw(st.none() | params),
        per=draw(st.none() | st.dictionaries(texts, st.just((0.1, 0.2)), max_size=2)),
        **ends,
    )


def nodes() -> st.SearchStrategy[NodeInfo]:
    return st.builds(
        NodeInfo,
        name=texts,
        address=texts,
        node_id=texts,
        num_cpus=positive,
        num_gpus=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        gpu_names=st.lists(texts, max_size=2).map(tuple),
        probe_version=texts,
        python_version=texts,
        torch_version=texts,
        cuda_version=st.none() | texts,
        driver_version=st.none() | texts,
        platform=texts,
    )


def cluster_uses() -> st.SearchStrategy[ClusterUse]:
    return st.builds(
        ClusterUse,
        address=texts,
        nodes=st.lists(nodes(), max_size=3).map(tuple),
        num_slots=st.integers(0, 10_000),
        cpus_per_job=positive,
        gpus_per_job=st.none() | positive,
        storage=texts,
        lost_nodes=st.lists(texts, max_size=2).map(tuple),
    )


def slot_uses() -> st.SearchStrategy[SlotUse]:
    return st.builds(
        SlotUse,
        num_slots=st.integers(0, 10_000),
        num_nodes=st.none() | st.integers(0, 100),
        utilization=st.none() | st.floats(0, 1),
        num_retries=st.integers(0, 100),
    )


@st.composite
def search_results(draw: st.DrawFn) -> SearchResult:
    trials = tuple(draw(trial_results(number)) for number in range(draw(st.integers(0, 4))))
    winners = [BestTrial(number=t.number, params=t.params, value=t.value) for t in trials if t.value is not None]
    weights = draw(st.none() | weight_counts())
    final = FinalTraining(epochs=2, seed=1, reports=(draw(epoch_reports(1)),), weights=weights)
    low, value, high = sorted(draw(finite) for _ in range(3))
    baseline = draw(st.none() | st.builds(BaselineScore, name=texts, value=finite))
    score = Score(metric="accuracy", value=value, low=low, high=high, num_samples=10, baseline=baseline)
    return SearchResult(
        meta=META,
        stopped_by=draw(st.sampled_from(["trials", "epochs", "time", "space", "failures", "interrupted"])),
        name=draw(texts),
        recipe=draw(texts),
        task=draw(texts),
        metric=draw(st.sampled_from(["accuracy", "loss", "f1 | $x$"])),
        mode=draw(st.sampled_from(["max", "min"])),
        sampler="random",
        scheduler="none",
        rungs=draw(st.sampled_from([(), (1,), (1, 3)])),
        space=tuple(draw(st.lists(dimensions(), max_size=3, unique_by=lambda d: d.name))),
        constants=draw(params),
        limits=draw(st.sampled_from([BudgetLimits(), BudgetLimits(trials=3, epochs=9.5, time_seconds=60.0)])),
        spent=Spent(trials=len(trials), epochs=draw(positive), probe_epochs=draw(positive), seconds=draw(positive)),
        num_workers=1,
        batch_probe=draw(st.none() | batch_results()),
        lr_probes=draw(st.dictionaries(texts, lr_results(), max_size=2)),
        trials=trials,
        best=draw(st.sampled_from([None, *winners])),
        best_interval=draw(
            st.none()
            | st.builds(
                ValueInterval,
                low=finite,
                high=finite,
                rule=st.sampled_from(["wilson", "folds"]),
                num_samples=st.none() | st.integers(1, 10_000),
            )
        ),
        reduce=draw(st.sampled_from(["best", "last"])),
        importance=draw(st.none() | st.dictionaries(texts, importances(), max_size=3)),
        final=draw(st.sampled_from([None, final])),
        test=draw(st.sampled_from([None, score])),
        diagnosis=draw(st.none() | diagnoses()),
        warnings=tuple(draw(st.lists(texts, max_size=2))),
        cluster=draw(st.none() | cluster_uses()),
        slots=draw(st.none() | slot_uses()),
    )


@st.composite
def train_results(draw: st.DrawFn) -> TrainResult:
    num_epochs = draw(st.integers(0, 15))
    ends: list[TrainEnd] = ["interrupted", "diverged", "oom", *(["finished"] if num_epochs else [])]  # type: ignore[list-item]
    stopped_by = draw(st.sampled_from(ends))
    best = draw(st.sampled_from([None, *range(1, num_epochs + 1)]))
    score = Score(metric="accuracy", value=draw(finite), low=None, high=None, num_samples=10)
    return TrainResult(
        meta=META,
        stopped_by=stopped_by,
        name=draw(texts),
        recipe=draw(texts),
        task=draw(texts),
        metric=draw(st.sampled_from(["accuracy", "loss", "f1 | $x$"])),
        mode=draw(st.sampled_from(["max", "min"])),
        params=draw(params),
        epochs=num_epochs if stopped_by == "finished" else num_epochs + 1,
        all_data=draw(st.booleans()),
        num_train=draw(amounts),
        num_val=draw(st.none() | amounts),
        num_test=draw(st.none() | amounts),
        reports=tuple(draw(epoch_reports(epoch)) for epoch in range(1, num_epochs + 1)),
        best_epoch=best,
        best_value=None if best is None else draw(finite),
        last_value=draw(st.none() | finite) if num_epochs else None,
        test=draw(st.sampled_from([None, score])) if stopped_by == "finished" else None,
        weights_file=draw(st.sampled_from([None, "weights.safetensors"])),
        diagnosis=draw(st.none() | diagnoses()),
        memory=draw(st.none() | readings()),
        seconds=draw(positive),
        summary=draw(st.none() | training_summaries()),
        weights=draw(st.none() | weight_counts()),
        warnings=tuple(draw(st.lists(texts, max_size=2))),
    )
