"""Entry points of jobs in a worker process. The parent process imports them without loading PyTorch."""

from __future__ import annotations

from probe.search.jobs.final_job import FinalJob, FinalOutcome
from probe.search.jobs.jobs import RungJob, RungReport


def train_in_worker(job: RungJob) -> RungReport:
    """Train a trial to its next rung. The worker loads PyTorch; the search itself does not."""
    from probe.search.jobs.trial import run_rung

    return run_rung(job)


def run_final_training(job: FinalJob) -> FinalOutcome:
    """Run the final training. The worker loads PyTorch."""
    from probe.search.jobs.final_training import run_final

    return run_final(job)
