"""probe's training step against loops written by hand, one of them tuned, on networks that keep a GPU busy."""

from __future__ import annotations

from functools import partial
from typing import Any

from gpu_session_stages.loops import image_task, plain_steps, probe_steps, step_seconds, training_run
from gpu_session_stages.session import Session

TABLE = "Training steps"


def run(session: Session) -> None:
    models, batch_size, image_size = (("resnet18",), 8, 32) if session.small else (("resnet50", "vit_b_16"), 64, 224)
    cases = [{"model": model, "precision": precision} for precision in ("bf16", "fp32") for model in models]
    session.measure(TABLE, cases, partial(measure, batch_size=batch_size, image_size=image_size, session=session))


def measure(*, model: str, precision: str, batch_size: int, image_size: int, session: Session) -> dict[str, Any]:
    task = image_task(model, batch_size, image_size)
    by_hand: dict[str, Any] = {"device": session.device, "batch_size": batch_size, "precision": precision}
    contenders = {
        "probe": probe_steps(training_run(task, session.device, lr=1e-3, batch_size=batch_size, precision=precision)),
        "plain": plain_steps(task.model(), task.train, **by_hand),
        "tuned": plain_steps(task.model(), task.train, **by_hand, tuned=True),
    }
    steps, rounds = (2, 1) if session.small else (10, 3)
    times = {name: total for name, (total, _) in step_seconds(contenders, steps=steps, rounds=rounds).items()}
    return {
        "batch_size": batch_size,
        **{f"{name}_samples_per_second": round(batch_size / seconds, 1) for name, seconds in times.items()},
        "probe_to_plain": times["plain"] / times["probe"],
        "probe_to_tuned": times["tuned"] / times["probe"],
    }
