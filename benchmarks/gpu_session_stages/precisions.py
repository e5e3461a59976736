"""Ways to train: speed and peak of one batch in each precision, and with each option of the trainer that changes them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from gpu_session_stages.loops import image_task, probe_steps, step_seconds, training_run
from gpu_session_stages.session import Session
from probe.training.settings import TRAINER_NAMES

TABLE = "Ways to train"
OPTIONS = ("channels_last", "compile")
"""Options of the trainer that are tried with bf16, if it has them."""


def run(session: Session) -> None:
    models, batch_size, image_size = (("resnet18",), 8, 32) if session.small else (("resnet50", "vit_b_16"), 64, 224)
    ways = [*("fp32", "tf32", "bf16", "fp16"), *(f"bf16 {option}" for option in OPTIONS if option in TRAINER_NAMES)]
    if session.small:
        ways = [way for way in ways if "compile" not in way]
    cases = [{"model": model, "way": way} for way in ways for model in models]
    session.measure(TABLE, cases, partial(measure, batch_size=batch_size, image_size=image_size, session=session))


def measure(*, model: str, way: str, batch_size: int, image_size: int, session: Session) -> dict[str, Any]:
    precision, *options = way.split()
    settings: dict[str, Any] = {"precision": precision, **dict.fromkeys(options, True)}
    torch.cuda.empty_cache()
    task = image_task(model, batch_size, image_size)
    run = training_run(task, session.device, lr=1e-4, batch_size=batch_size, **settings)
    first = float(run.train_step(next(run.batches())))
    steps, rounds = (2, 1) if session.small else (10, 2)
    torch.cuda.reset_peak_memory_stats(session.device)
    seconds, _ = step_seconds({"probe": probe_steps(run)}, steps=steps, rounds=rounds)["probe"]
    return {
        "samples_per_second": round(batch_size / seconds, 1),
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(session.device),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(session.device),
        "first_loss": first,
        "last_loss": float(run.train_step(next(run.batches()))),
    }
