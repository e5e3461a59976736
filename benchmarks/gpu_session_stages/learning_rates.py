"""A range test on the GPU against the same on the CPU: the suggestion, and the time."""

from __future__ import annotations

from functools import partial
from typing import Any

from gpu_session_stages.loops import NETWORKS, small_task
from gpu_session_stages.session import Session
from probe.lr.find import find_lr
from probe.lr.records import LrResult

TABLE = "Range tests"


def run(session: Session) -> None:
    steps = 30 if session.small else 200
    cases = [{"model": model, "precision": precision} for precision in ("fp32", "bf16") for model in NETWORKS]
    session.measure(TABLE, cases, partial(measure, steps=steps, device=session.device))


def measure(*, model: str, precision: str, steps: int, device: str) -> dict[str, Any]:
    """The CPU trains in fp32."""
    task = small_task(model)
    cpu = find_lr(task, params={"batch_size": 128}, steps=steps, device="cpu")
    gpu = find_lr(task, params={"batch_size": 128, "precision": precision}, steps=steps, device=device)
    on_cpu, on_gpu = suggested(cpu), suggested(gpu)
    return {
        "lr_on_cpu": on_cpu,
        "lr_on_gpu": on_gpu,
        "ratio": on_gpu / on_cpu if on_cpu and on_gpu else None,
        "cpu_seconds": cpu.seconds,
        "gpu_seconds": gpu.seconds,
    }


def suggested(result: LrResult) -> float | None:
    return None if result.suggestion is None else result.suggestion.lr
