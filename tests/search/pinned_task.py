"""A task that tells which GPUs its process sees, by failing."""

from __future__ import annotations

import os

import probe


def told() -> probe.Task:
    raise LookupError("it sees " + os.environ["CUDA_VISIBLE_DEVICES"])
