"""Trials that share the GPU: searches with 1, 2 and 4 workers, by the functions of gpu_sharing.py."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from typing import Any

from gpu_sharing import run_search

from gpu_session_stages.session import Session

TABLE = "Trials at once"


def run(session: Session) -> None:
    trials, epochs, workers = (2, 1, (2,)) if session.small else (8, 3, (1, 2, 4))
    cases = [{"workers": number} for number in workers]
    session.measure(TABLE, cases, partial(measure, trials=trials, epochs=epochs, device=session.device))


def measure(*, workers: int, trials: int, epochs: int, device: str) -> dict[str, Any]:
    recipe = {"recipe": "recipes/digits.toml", "set": ['task.objective={metric="loss", mode="min"}']}
    found = run_search("local", workers, Namespace(epochs=epochs, trials=trials, device=device, **recipe))
    return {
        "trials": trials,
        "trained": found.count("complete"),
        "out_of_memory": found.count("oom"),
        "trials_seconds": found.trial_seconds,
        "trials_per_second": trials / found.trial_seconds,
        "utilization_fraction": found.result["slots"]["utilization"],
    }
