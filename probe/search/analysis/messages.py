"""Warnings about metrics that were NaN or infinite, and the one-line reason in a message or traceback. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probe.search.records.search import TrialResult
from probe.training.records import EpochReport

MAX_TRIALS_LISTED = 3
_HEADER = "Traceback (most recent call last):"
MAX_WHOLE_LINES = 3
"""Of a longer error, only the first line, which names it, and the last, often its cause, are kept."""


def undefined_epochs(reports: Sequence[EpochReport]) -> dict[str, list[int]]:
    """Return metric -> the epochs in which it was NaN or infinite on the validation split."""
    found: dict[str, list[int]] = {}
    for report in reports:
        for name in report.undefined:
            found.setdefault(name, []).append(report.epoch)
    return found


def training_warnings(reports: Sequence[EpochReport]) -> list[str]:
    """Return a warning for each metric that was undefined in some epochs of one training run."""
    return [_sentence(name, epochs_text(epochs)) for name, epochs in undefined_epochs(reports).items()]


def trials_warnings(trials: Sequence[TrialResult]) -> list[str]:
    """Return a warning for each metric that was undefined in some epochs of some trials."""
    by_metric: dict[str, dict[int, list[int]]] = {}
    for trial in trials:
        for name, epochs in undefined_epochs(trial.reports).items():
            by_metric.setdefault(name, {})[trial.number] = epochs
    return [_sentence(name, _trials_text(epochs)) for name, epochs in by_metric.items()]


def epochs_text(epochs: Sequence[int]) -> str:
    """Return text like `epoch 1`, `epochs 1 to 3` or `4 of the epochs 1 to 9`."""
    first, last = epochs[0], epochs[-1]
    if first == last:
        return f"epoch {first}"
    span = f"epochs {first} to {last}"
    return span if len(epochs) == last - first + 1 else f"{len(epochs)} of the {span}"


def _trials_text(epochs: Mapping[int, Sequence[int]]) -> str:
    listed = [f"{epochs_text(found)} of trial {number}" for number, found in epochs.items()]
    more = len(listed) - MAX_TRIALS_LISTED
    if more > 0:
        listed = [*listed[:MAX_TRIALS_LISTED], f"epochs of {more} other trial{'s' if more > 1 else ''}"]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _sentence(metric: str, where: str) -> str:
    return f"Metric '{metric}' was NaN or infinite on the validation split in {where}."


def reason(message: str) -> str:
    """Return the error at the end of a traceback, or the message itself, as one line."""
    _, is_traceback, after = message.rpartition(_HEADER)
    lines = [line.rstrip() for line in after.splitlines() if line.strip()]
    if is_traceback:
        error = _without_frames(lines)
        lines = error or lines[-1:]
    parts = [line.strip() for line in lines]
    return " ".join(parts) if len(parts) <= MAX_WHOLE_LINES else f"{parts[0]} ... {parts[-1]}"


def _without_frames(lines: list[str]) -> list[str]:
    """The lines after the frames, which are indented. Lines of the error itself may be indented as well."""
    for number, line in enumerate(lines):
        if not line[0].isspace():
            return lines[number:]
    return []
