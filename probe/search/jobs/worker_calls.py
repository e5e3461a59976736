"""What workers run. The parent process imports these functions without loading PyTorch."""

from __future__ import annotations

from probe.search.jobs.final_job import FinalJob, FinalOutcome
from probe.search.jobs.jobs import RungJob, RungReport


def train_in_worker(job: RungJob) -> RungReport:
    """A rung of a trial; sent to a worker, which loads PyTorch. The search itself never does."""
    from probe.search.jobs.trial import run_rung

    return run_rung(job)


def run_final_training(job: FinalJob) -> FinalOutcome:
    """The whole final fit; sent to a worker, which loads PyTorch."""
    from probe.search.jobs.final_training import run_final

    return run_final(job)
