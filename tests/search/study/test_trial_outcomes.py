"""What each outcome of a job does to its trial, to the budget, to the ladder and to what the sampler is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_studies import ACCURACY, Ran, fail_on
from scripted_executor import ScriptedExecutor

from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.jobs.stopping import Constraints, next_gradient_accumulation
from probe.search.plans import end_warnings
from probe.search.records.search import BudgetLimits, TrialResult
from probe.search.schedulers.fidelity import MIN_TRIAL_FRACTION, FidelitySchedule
from probe.search.schedulers.registry import make_scheduler
from probe.search.study.snapshots import best_trial, trial_result


def out_of_memory_until(parts: int, number: int = 0) -> ScriptedExecutor:
    """Trial `number` fits once its batch of 8 is split into that many parts."""

    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "oom" if job.number == number and (job.gradient_accumulation or 1) < parts else None

    return ScriptedExecutor(fault=fault, max_parts=8)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_batch_is_halved_down_to_single_samples(batch_size: int, given_parts: int) -> None:
    parts: int | None = min(given_parts, batch_size)
    for _ in range(batch_size.bit_length() + 1):
        following = next_gradient_accumulation(batch_size, parts or 1)
        if following is None:
            assert parts == batch_size
            return
        assert parts is not None
        assert parts < following <= min(2 * parts, batch_size)
        parts = following
    pytest.fail("it never came to an end")


def test_a_trial_that_runs_out_of_memory_is_run_again_with_its_batch_split() -> None:
    ran = Ran(limits=BudgetLimits(trials=1), executor=out_of_memory_until(4))
    (result,) = ran.results
    assert [job.gradient_accumulation for job in ran.executor.jobs] == [None, 2, 4, 4, 4]
    assert (result.status, result.gradient_accumulation, result.epochs, result.lost_epochs) == (
        "complete",
        4,
        11,
        2,
    )  # two begun passes
    assert "split into 4 micro-batches" in (result.message or "")


def test_memory_that_runs_out_on_a_later_rung_costs_what_was_lost() -> None:
    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "oom" if epoch == 3 and job.gradient_accumulation is None else None

    ran = Ran(limits=BudgetLimits(trials=1), executor=ScriptedExecutor(fault=fault, max_parts=8))
    (result,) = ran.results
    assert [(job.epochs_from, job.epochs_to) for job in ran.executor.jobs] == [(0, 1), (1, 3), (1, 3), (3, 9)]
    assert (result.status, result.epochs, result.lost_epochs) == ("complete", 11, 2)
    assert [report.epoch for report in result.reports] == list(range(1, 10))


@pytest.mark.parametrize("plan", [{"on_oom": "infeasible"}, {}])
def test_a_trial_that_fits_in_no_way_is_infeasible(plan: dict[str, Any]) -> None:
    ran = Ran(limits=BudgetLimits(trials=2), executor=out_of_memory_until(100), **plan)
    num_tries = 1 if plan else 4
    assert [job.gradient_accumulation for job in ran.executor.jobs if job.number == 0] == [None, 2, 4, 8][:num_tries]
    assert (ran.results[0].status, ran.results[0].value) == ("oom", None)
    assert ran.results[0].epochs == ran.results[0].lost_epochs == num_tries
    assert ran.results[1].value is not None


def test_a_rung_whose_worker_is_killed_twice_is_infeasible_and_the_sampler_learns_it() -> None:
    told: list[tuple[int, str, float | None]] = []
    executor = ScriptedExecutor(fault=fail_on(t1="host_oom"))
    ran = Ran(limits=BudgetLimits(trials=4), executor=executor, listen=lambda *news: told.append(news))
    assert [job.needs_fresh_process for job in executor.jobs if job.number == 1] == [False, True]
    assert (ran.results[1].status, ran.results[1].value) == ("host_oom", None)
    assert [verdict for number, verdict, _ in told if number == 1] == ["infeasible"]
    assert ran.results[1].epochs == ran.results[1].lost_epochs == 2  # the epochs in which it was killed
    assert {result.status for result in ran.results if result.number != 1} <= {"complete", "stopped"}
    assert ran.state.utilization.num_retries == 1
    [warning] = end_warnings("random", ran.state.trials)
    assert all(fact in warning for fact in ("trial 1", "--workers", "num_workers"))


@settings(deadline=None, max_examples=40)
@given(
    kills=st.sets(st.tuples(st.integers(0, 8), st.integers(0, 2))),
    scheduler=st.sampled_from(["asha", "halving", "hyperband"]),
    by_data=st.booleans(),
)
def test_one_kill_of_each_rung_loses_nothing_and_changes_no_decision(
    kills: set[tuple[int, int]], scheduler: Any, by_data: bool
) -> None:
    """`kills`: (trial, rung) whose worker is killed in the last epoch."""
    rungs: tuple[int, ...] = (100, 300, 1000) if by_data else (1, 3, 9)
    fidelity = FidelitySchedule(unit="data", rungs=rungs, data_epochs=4) if by_data else FidelitySchedule(rungs=rungs)
    killed: set[tuple[int, int]] = set()

    def kill(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        key = (job.number, num_submitted - 1 - sum(number == job.number for number, _ in killed))
        if key not in kills or key in killed or epoch < job.epochs_to:
            return None
        killed.add(key)
        return "host_oom"

    def run(executor: ScriptedExecutor) -> Ran:
        limits = BudgetLimits(trials=9)
        return Ran(limits=limits, executor=executor, fidelity=fidelity, rungs=rungs, scheduler=scheduler)

    whole, ran = run(ScriptedExecutor()), run(ScriptedExecutor(fault=kill))
    assert [decided(result) for result in ran.results] == [decided(result) for result in whole.results]
    assert len(ran.executor.jobs) == len(whole.executor.jobs) + len(killed)
    assert (ran.state.utilization.num_retries, ran.end) == (len(killed), whole.end)


def decided(result: TrialResult) -> tuple[Any, ...]:
    return result.params, result.seed, result.status, result.value, result.rungs, result.reports


def test_memory_that_runs_out_beside_others_is_tried_alone_before_the_batch_is_split() -> None:
    told: list[str] = []

    def run(num_oom: int) -> Ran:
        executor = ScriptedExecutor(
            fault=lambda job, epoch, num_submitted: "oom" if num_submitted <= num_oom else None,
            is_crowded=lambda job: not job.needs_fresh_process,
            max_parts=8,
        )
        return Ran(limits=BudgetLimits(trials=1), executor=executor, listen=lambda _, verdict, __: told.append(verdict))

    fits = run(1)
    assert [(job.gradient_accumulation, job.needs_fresh_process) for job in fits.executor.jobs] == [
        (None, False),
        (None, True),
        (None, False),
        (None, False),
    ]
    (result,) = fits.results
    assert (result.status, result.gradient_accumulation, result.epochs, result.lost_epochs) == ("complete", None, 9, 0)
    assert "alone" in (result.message or "")
    assert set(told) == {"scored"}
    [warning] = end_warnings("random", fits.state.trials)
    assert "trial 0" in warning

    too_large = run(2)
    assert [job.gradient_accumulation for job in too_large.executor.jobs] == [None, None, 2, 2, 2]
    assert too_large.results[0].lost_epochs == 1  # of the pass that it began alone


@settings(deadline=None, max_examples=30)
@given(
    crowded=st.sets(st.tuples(st.integers(0, 8), st.integers(0, 2))), scheduler=st.sampled_from(["asha", "hyperband"])
)
def test_neighbours_on_the_gpu_change_no_decision(crowded: set[tuple[int, int]], scheduler: Any) -> None:
    """`crowded`: (trial, rung) that runs out of memory unless it is alone."""

    def rung(job: RungJob) -> tuple[int, int]:
        return job.number, (1, 3, 9).index(job.epochs_to)

    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        is_crowded = rung(job) in crowded and not job.needs_fresh_process and epoch == job.epochs_to
        return "oom" if is_crowded else None

    def run(executor: ScriptedExecutor) -> Ran:
        return Ran(limits=BudgetLimits(trials=9), executor=executor, scheduler=scheduler)

    whole, ran = run(ScriptedExecutor()), run(ScriptedExecutor(fault=fault, is_crowded=lambda job: True))
    assert [decided(result) for result in ran.results] == [decided(result) for result in whole.results]
    repeated = [rung(job) for job in ran.executor.jobs if job.needs_fresh_process]
    assert set(repeated) == crowded & {rung(job) for job in whole.executor.jobs}
    assert len(repeated) == len(set(repeated))


def test_each_kind_of_death_has_its_own_retries() -> None:
    deaths: list[Outcome] = ["host_oom", "crashed", "failed", "crashed"]

    def die(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return deaths[num_submitted - 1] if job.number == 0 and num_submitted <= len(deaths) else None

    ran = Ran(limits=BudgetLimits(trials=1), executor=ScriptedExecutor(fault=die))
    assert ran.results[0].status == "complete"
    deaths.append("host_oom")
    again = Ran(limits=BudgetLimits(trials=1), executor=ScriptedExecutor(fault=die))
    assert (again.results[0].status, len(again.executor.jobs)) == ("host_oom", 5)


def test_a_constraint_that_is_broken_is_a_status_and_no_candidate() -> None:
    ran = Ran(limits=BudgetLimits(trials=4), executor=ScriptedExecutor(fault=fail_on(t1="infeasible")))
    assert (ran.results[1].status, ran.results[1].value, ran.results[1].message) == ("infeasible", None, "infeasible")
    assert sum(job.number == 1 for job in ran.executor.jobs) == 1


DEAD = ("oom", "host_oom", "diverged", "infeasible", "timeout", "failed", "crashed")


@settings(deadline=None, max_examples=60)
@given(
    outcomes=st.lists(st.sampled_from(DEAD), min_size=1, max_size=6),
    passes=st.sampled_from([None, 0, 1]),
    epochs=st.integers(1, 12),
    num_folds=st.integers(1, 3),
    by_data=st.booleans(),
    num_slots=st.integers(1, 3),
)
def test_a_budget_of_epochs_ends_whatever_the_trials_die_of(
    outcomes: list[Outcome], passes: int | None, epochs: int, num_folds: int, by_data: bool, num_slots: int
) -> None:
    if by_data:
        fidelity = FidelitySchedule(unit="data", rungs=(300, 1000), data_epochs=2, num_folds=num_folds)
    else:
        fidelity = FidelitySchedule(rungs=(1, 3), num_folds=num_folds)
    executor = ScriptedExecutor(
        num_slots=num_slots,
        num_passes=passes,
        max_parts=4,
        fault=lambda job, epoch, _: outcomes[job.number % len(outcomes)],
    )
    ran = Ran(limits=BudgetLimits(epochs=epochs), executor=executor, fidelity=fidelity, rungs=fidelity.rungs)
    assert ran.end in ("epochs", "failures")
    least = max(1, fidelity.data_thousandths(0) // MIN_TRIAL_FRACTION) / 1000
    assert ran.state.spent_epochs <= epochs
    assert all(result.value is None and result.epochs >= least for result in ran.results)
    assert len(ran.results) <= epochs / least


def test_the_price_of_a_trial_that_ends_early_is_the_passes_it_began_and_a_tenth_of_one_at_least() -> None:
    def cost(outcome: Outcome, passes: int | None, fidelity: FidelitySchedule) -> float:
        executor = ScriptedExecutor(fault=fail_on(t0=outcome), num_passes=passes)
        return (
            Ran(limits=BudgetLimits(trials=1), executor=executor, fidelity=fidelity, rungs=fidelity.rungs)
            .results[0]
            .epochs
        )

    whole, folds = FidelitySchedule(rungs=(2, 4)), FidelitySchedule(rungs=(2, 4), num_folds=5)
    share = FidelitySchedule(unit="data", rungs=(200, 1000), data_epochs=3)
    assert [cost("infeasible", passes, whole) for passes in (0, 1, 2)] == [0.1, 1, 2]
    assert [cost("oom", passes, folds) for passes in (0, 1, 7)] == [0.1, 1, 7]
    # A trial that fails runs once more: the first failure costs the least there is.
    assert [cost("failed", None, fidelity) for fidelity in (whole, folds, share)] == [1.1, 1.1, 0.22]
    assert [cost("infeasible", passes, share) for passes in (0, 1)] == [0.02, 0.2]


def test_a_trial_whose_time_is_up_keeps_the_value_that_it_had() -> None:
    def fault(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        return "timeout" if (job.number, epoch) in ((0, 1), (1, 3)) else None

    ran = Ran(
        limits=BudgetLimits(trials=3),
        executor=ScriptedExecutor(fault=fault),
        starts=({}, {"quality": 1.0}, {"quality": 0.1}),
    )
    never, late, other = ran.results
    assert (never.status, never.value, never.epochs) == ("timeout", None, 1)
    assert (late.status, late.value, late.epochs, late.lost_epochs) == ("timeout", 0.75, 3, 1)
    assert other.status in ("stopped", "complete")
    best = best_trial(ACCURACY, ran.results)
    assert best is not None
    assert best.number == 1


def test_the_sampler_avoids_what_is_infeasible_or_too_slow_and_keeps_scores() -> None:
    told: list[tuple[int, str, float | None]] = []
    faults: dict[tuple[int, int], Outcome] = {
        (0, 1): "timeout",
        (1, 1): "infeasible",
        (2, 3): "timeout",
        (3, 3): "infeasible",
    }
    executor = ScriptedExecutor(fault=lambda job, epoch, _: faults.get((job.number, epoch)))
    ran = Ran(
        limits=BudgetLimits(trials=5),
        executor=executor,
        starts=tuple({"quality": q} for q in (0.1, 0.2, 1.0, 0.9, 0.3)),
        listen=lambda *news: told.append(news),
        rungs=(2, 4),
    )
    verdicts = {number: [verdict for other, verdict, _ in told if other == number] for number in range(5)}
    assert verdicts[0] == ["infeasible"]
    assert verdicts[1] == ["infeasible"]
    assert verdicts[2] == ["scored"]
    assert verdicts[3] in (["scored"], ["scored", "infeasible"])
    assert verdicts[4] == ["scored"] * len(ran.results[4].rungs)  # of each rung
    assert ran.results[2].value is not None


def test_a_trial_without_improvement_is_complete_and_takes_nobodys_place() -> None:
    executor = ScriptedExecutor(stops_after=lambda job, epoch: job.number == 0 and epoch == 2)
    starts = tuple({"quality": quality} for quality in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5))
    ran = Ran(limits=BudgetLimits(epochs=100, trials=6), executor=executor, starts=starts, rungs=(3, 9))
    first = ran.results[0]
    assert (first.status, first.value, first.epochs, first.rungs) == ("complete", 0.75, 2, ())
    assert sum(job.number == 0 for job in executor.jobs) == 1
    # 2 of 6 may climb: the two best of those that can.
    assert {job.number for job in executor.jobs if job.epochs_from == 3} == {1, 2}
    assert ran.state.spent_epochs == 2 + 5 * 3 + 2 * 6
    assert ran.state.promised_epochs == 0


@settings(deadline=None, max_examples=60)
@given(
    epochs=st.integers(10, 120),
    num_slots=st.integers(1, 4),
    num_folds=st.integers(1, 5),
    by_data=st.booleans(),
    scheduler=st.sampled_from(["asha", "halving", "hyperband"]),
    ends=st.dictionaries(
        st.integers(0, 8),
        st.sampled_from(["oom", "host_oom", "diverged", "crashed", "timeout", "infeasible", "failed", "stops"]),
        max_size=5,
    ),
    at_epoch=st.integers(1, 4),
)
def test_no_outcome_breaks_the_budget_and_events_alone_give_the_state_again(
    epochs: int, num_slots: int, num_folds: int, by_data: bool, scheduler: Any, ends: dict[int, Any], at_epoch: int
) -> None:
    if by_data:
        fidelity = FidelitySchedule(unit="data", rungs=(100, 300, 1000), data_epochs=4, num_folds=num_folds)
    else:
        fidelity = FidelitySchedule(rungs=(1, 3, 9), num_folds=num_folds)

    def end(job: RungJob, epoch: int, num_submitted: int) -> Outcome | None:
        found = ends.get(job.number)
        return found if epoch == at_epoch and found != "stops" else None

    executor = ScriptedExecutor(
        num_slots=num_slots,
        fault=end,
        max_parts=4,
        stops_after=lambda job, epoch: epoch == at_epoch and ends.get(job.number) == "stops",
    )
    ran = Ran(
        limits=BudgetLimits(epochs=epochs),
        executor=executor,
        fidelity=fidelity,
        rungs=fidelity.rungs,
        scheduler=scheduler,
    )
    assert ran.state.spent_epochs <= epochs
    assert ran.state.promised_epochs == 0
    spent = sum(trial.spent for trial in ran.state.trials)
    assert spent == round(ran.state.spent_epochs * 1000)
    for trial in ran.state.trials:
        reported = len(trial.reports) * fidelity.epoch_cost(max(trial.rung, 0))
        assert trial.spent >= trial.lost
        assert by_data or trial.spent == trial.lost + reported
    again = type(ran.state)(
        scheduler=make_scheduler(scheduler, fidelity.rungs, factor=3, mode="max", costs=fidelity.costs),
        objective=ACCURACY,
        fidelity=fidelity,
    )
    for event in ran.events:
        again.apply(event)
    assert [trial_result(again, trial) for trial in again.trials] == ran.results


def test_training_on_shares_of_the_data_starts_anew_and_costs_the_share() -> None:
    fidelity = FidelitySchedule(unit="data", rungs=(100, 300, 1000), data_epochs=5)
    ran = Ran(limits=BudgetLimits(epochs=30), fidelity=fidelity, rungs=fidelity.rungs)
    assert fidelity.costs == (0.5, 1.5, 5)
    assert fidelity.total_costs == (0.5, 2, 7)
    assert {(job.epochs_from, job.epochs_to) for job in ran.executor.jobs} == {(0, 5)}
    top = [result for result in ran.results if result.rungs == (100, 300, 1000)]
    assert top
    assert {(result.status, result.epochs, len(result.reports)) for result in top} == {("complete", 7, 5)}
    assert ran.state.spent_epochs <= 30
    assert ran.discarded == []


def test_an_interrupted_larger_share_does_not_cost_the_score_of_the_smaller_one() -> None:
    fidelity = FidelitySchedule(unit="data", rungs=(100, 1000), data_epochs=5)
    executor = ScriptedExecutor(fault=lambda job, epoch, num: "timeout" if (num, epoch) == (2, 4) else None)
    ran = Ran(limits=BudgetLimits(trials=1), executor=executor, fidelity=fidelity, rungs=fidelity.rungs)
    (result,) = ran.results
    assert (result.status, len(result.reports), result.rungs) == ("timeout", 5, (100,))
    assert (result.epochs, result.lost_epochs) == (0.5 + 4, 4)
    assert result.value == ran.state.score(ran.state.trials[0], 0)


def test_an_epoch_in_five_folds_costs_five() -> None:
    fidelity = FidelitySchedule(rungs=(1, 3), num_folds=5)
    ran = Ran(limits=BudgetLimits(epochs=40), fidelity=fidelity, rungs=fidelity.rungs)
    assert all(result.epochs == 5 * len(result.reports) for result in ran.results)
    assert ran.state.spent_epochs == 40


def test_constraints_say_what_was_found_and_what_is_allowed() -> None:
    limits = Constraints(params=1000, step_seconds=0.005, memory_bytes=2**20)
    assert limits.broken_by_params(1000) is None
    assert limits.broken_by_params(1001) == "1,001 trainable parameters, more than the 1,000 allowed."
    assert limits.broken_by_step(0.005) is None
    assert limits.broken_by_step(0.0061) == "A step takes 6.10 ms, longer than the 5.00 ms allowed."
    assert limits.broken_by_memory(2**20) is None
    assert limits.broken_by_memory(2**21) == "Training takes 2.00 MiB, more than the 1.00 MiB allowed."
    assert Constraints().broken_by_params(10**12) is None
