"""Predicted against found sizes and peaks, by the functions of batch_gpu.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from batch_gpu import MODELS, Case, all_cases, error_of, measure

from gpu_session_stages.session import Session, read_lines, rows_of
from probe.units import format_percent

TABLE = "Predicted and found"
LIMITS = ("8GiB", "24GiB")


def run(session: Session) -> None:
    models, limits, image_size = (("cnn",), ("1GiB",), 32) if session.small else (MODELS, LIMITS, 224)
    cases = [
        {"model": case.model, "precision": case.precision, "limit": case.limit}
        for case in all_cases(models, limits, image_size, peers=())
    ]
    session.measure(TABLE, cases, partial(measured, image_size=image_size, device=session.device))
    session.note(summary([line["row"] for line in rows_of(read_lines(session.record), session.stage)]))


def measured(*, model: str, precision: str, limit: str, image_size: int, device: str) -> dict[str, Any]:
    outcome = measure(Case(model, precision, limit, image_size), device)
    row: dict[str, Any] = {
        "predicted": outcome.predicted,
        "found": outcome.found,
        "attempts": outcome.num_attempts,
        "sweep_seconds": outcome.seconds,
    }
    last = max(outcome.peaks, key=lambda peak: peak.batch_size, default=None)
    if last is not None:
        row |= {
            "allocated_bytes": last.measured_allocated,
            "allocated_error_fraction": error_of(last.predicted_allocated, last.measured_allocated),
            "reserved_bytes": last.measured_reserved,
            "reserved_error_fraction": error_of(last.predicted_reserved, last.measured_reserved),
        }
    return {**row, "problem": outcome.message or None}


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    same = sum(row.get("predicted") is not None and row["predicted"] == row["found"] for row in rows)
    errors = [abs(row["allocated_error_fraction"]) for row in rows if "allocated_error_fraction" in row]
    text = f"The same power of two in {same} of {len(rows)} cases."
    return text if not errors else f"{text} Allocated peaks: at most {format_percent(max(errors))} off."
