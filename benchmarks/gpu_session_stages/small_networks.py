"""Small networks, where the GPU waits for the host: what does probe's step cost beside a plain loop's, and from which batch on
is the GPU the slower one?"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

from gpu_session_stages.loops import NETWORKS, plain_steps, probe_steps, small_task, step_seconds, training_run
from gpu_session_stages.session import Session, is_fake

TABLE = "Steps of small networks"


def run(session: Session) -> None:
    sizes = (8,) if session.small else (1, 64, 1024, 8192)
    cases = [{"model": model, "batch_size": size} for model in NETWORKS for size in sizes]
    session.measure(TABLE, cases, partial(measure, session=session))


def measure(*, model: str, batch_size: int, session: Session) -> dict[str, Any]:
    task = small_task(model, num_samples=2 * max(batch_size, 512))
    contenders = {
        "probe": probe_steps(training_run(task, session.device, lr=1e-3, batch_size=batch_size)),
        "plain": plain_steps(task.model(), task.train, device=session.device, batch_size=batch_size),
    }
    steps, rounds = (5, 1) if session.small else (100, 5)
    times = step_seconds(contenders, steps=steps, rounds=rounds)
    (probe_seconds, probe_host), (plain_seconds, plain_host) = times["probe"], times["plain"]
    return {
        "probe_step_seconds": probe_seconds,
        "plain_step_seconds": plain_seconds,
        "probe_host_seconds": probe_host,
        "plain_host_seconds": plain_host,
        "host_waits_for_gpu": plain_host < 0.8 * plain_seconds,
        **{f"{name}_launches": launches(run) for name, run in contenders.items()},
    }


def launches(run: Callable[[int], None]) -> int | None:
    """Kernels per step, as the fake driver counts them; None on a real GPU."""
    if not is_fake():
        return None
    driver = ctypes.CDLL(None)
    before = driver.fake_num_launches()
    run(10)
    return int(driver.fake_num_launches() - before) // 10
