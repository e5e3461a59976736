"""Does a training on the GPU have the losses of the CPU, and does a restored checkpoint continue as the run would have?"""

from __future__ import annotations

from functools import partial
from typing import Any

from gpu_session_stages.loops import NETWORKS, small_task, training_run
from gpu_session_stages.session import Session
from probe.training.step import matmul_precision

PRECISIONS = ("fp32", "tf32", "bf16")


def run(session: Session) -> None:
    steps, num_samples = (5, 256) if session.small else (50, 2048)
    cases = [{"model": model, "precision": precision} for precision in PRECISIONS for model in NETWORKS]
    session.measure("Losses on the CPU and the GPU", cases, partial(losses, steps=steps, device=session.device))
    restores = [{"model": model, "continued_on": device} for model in NETWORKS for device in (session.device, "cpu")]
    session.measure("A restored run", restores, partial(restored, num_samples=num_samples, device=session.device))


def losses(*, model: str, precision: str, steps: int, device: str) -> dict[str, Any]:
    """The CPU trains in fp32."""
    cpu = curve(model, "cpu", "fp32", steps)
    gpu = curve(model, device, precision, steps)
    return {
        "steps": steps,
        "first_on_cpu": cpu[0],
        "first_on_gpu": gpu[0],
        "last_on_cpu": cpu[-1],
        "last_on_gpu": gpu[-1],
        "largest_difference": max(abs(one - other) / max(abs(one), 1e-9) for one, other in zip(cpu, gpu, strict=True)),
    }


def curve(model: str, device: str, precision: str, steps: int) -> list[float]:
    run = training_run(small_task(model), device, lr=1e-3, batch_size=128, precision=precision)
    batches = run.batches()
    run.model.train()
    with matmul_precision(run.settings.precision):
        return [float(run.train_step(next(batches))) for _ in range(steps)]


def restored(*, model: str, continued_on: str, num_samples: int, device: str) -> dict[str, Any]:
    """The third epoch of a run, and of another run that continues from its second."""
    task = small_task(model, num_samples)
    whole = training_run(task, device, lr=1e-3, batch_size=128)
    for _ in range(2):
        whole.train_epoch()
    state = whole.state()
    expected = whole.train_epoch()
    other = training_run(task, continued_on, lr=1e-3, batch_size=128, seed=1)
    other.restore(state)
    found = other.train_epoch()
    both = {"loss_of_the_run": expected, "loss_of_the_restored": found, "same": expected == found}
    return {**both, "difference": None if expected is None or found is None else abs(expected - found)}
