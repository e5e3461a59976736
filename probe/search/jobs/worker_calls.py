"""Entry points of jobs in a worker process. The parent process imports them without loading PyTorch."""

from __future__ import annotations

from probe.search.jobs.jobs import FinalJob, FinalOutcome, RungJob, RungReport

DETERMINISTIC_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Environment of workers for reproducible matrix products on a GPU:
https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html"""


def train_in_worker(job: RungJob) -> RungReport:
    """Train a trial to its next rung. The worker loads PyTorch; the search itself does not."""
    from probe.search.jobs.trial import run_rung

    return run_rung(job)


def run_final_training(job: FinalJob) -> FinalOutcome:
    """Run the final training. The worker loads PyTorch."""
    from probe.search.jobs.final_training import run_final

    return run_final(job)


def make_deterministic() -> None:
    """Configure PyTorch for `--deterministic`. Operations without a deterministic version warn."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
