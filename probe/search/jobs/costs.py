"""The cost of epochs that leave no report: passes that a job started and lost. Pure."""

from __future__ import annotations

from probe.search.schedulers.fidelity import FidelitySchedule

MIN_TRIAL_FRACTION = 10
"""A trial that fails costs at least 1/10 of a pass over its training data, even if it failed before any training, so that a
budget of epochs is always used up."""


def lost_cost(outcome: str, num_passes: int | None, num_reports: int, *, fidelity: FidelitySchedule, rung: int) -> int:
    """Cost of a job's passes without a report, in thousandths of an epoch.

    If the number of passes is unknown, the cost is that of the epoch in which the job failed. Folds report only at the end, so
    that the cost is then that of the whole rung, or of one pass if the task's code raised, which usually happens at once.

    Args:
        num_passes: passes that the job started since the rung below; None if the worker died.
        num_reports: epochs that the job reported.
    """
    if num_passes is not None:
        return max(0, num_passes - num_reports * fidelity.num_folds) * fidelity.data_thousandths(rung)
    if outcome in ("diverged", "crashed", "timeout"):
        return fidelity.job_cost(rung) if fidelity.num_folds > 1 else fidelity.epoch_cost(rung)
    return fidelity.data_thousandths(rung) if outcome in ("oom", "failed") else 0


def least_cost(fidelity: FidelitySchedule, rung: int) -> int:
    """The least cost of a trial that fails on its way to `rung`, in thousandths of an epoch."""
    return max(1, fidelity.data_thousandths(rung) // MIN_TRIAL_FRACTION)
