"""Counts losses and repetitions in the events of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probe.search.study.events import EpochReported, Event, SearchResumed, TrialEnded, TrialStarted, TrialSuggested


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    num_trials: int
    num_unfinished: int
    """Number of trials whose last rung was not finished."""
    num_finished_again: int
    """Number of rungs that were started after they had been finished."""
    num_crashes: int
    num_strays: int
    """Number of reports and ends that are repeated or belong to no running job."""
    num_rolled_back: int
    """Number of rungs that were running when a driver was killed."""


def history(events: Sequence[Event]) -> History:
    """The history of a finished search."""
    running: dict[int, tuple[int, int | None]] = {}  # trial -> its rung, its last epoch there
    finished: set[tuple[int, int]] = set()
    last: dict[int, str] = {}
    num_again = num_crashes = num_strays = num_rolled_back = 0
    for event in events:
        if isinstance(event, TrialSuggested):
            last[event.number] = "suggested"
        elif isinstance(event, TrialStarted):
            num_again += (event.number, event.rung) in finished
            num_strays += event.number in running
            running[event.number], last[event.number] = (event.rung, None), "started"
        elif isinstance(event, EpochReported):
            rung, epoch = running.get(event.number, (-1, None))
            num_strays += rung < 0 or (epoch is not None and event.report.epoch != epoch + 1)
            running[event.number] = (rung, event.report.epoch)
        elif isinstance(event, TrialEnded):
            num_strays += event.number not in running
            rung, _ = running.pop(event.number, (-1, None))
            last[event.number] = event.report.outcome
            num_crashes += event.report.outcome == "crashed"
            if event.report.outcome == "finished":
                finished.add((event.number, rung))
        elif isinstance(event, SearchResumed):
            num_rolled_back += len(running)
            running.clear()
    return History(
        num_trials=len(last),
        num_unfinished=sum(outcome != "finished" for outcome in last.values()),
        num_finished_again=num_again,
        num_crashes=num_crashes,
        num_strays=num_strays,
        num_rolled_back=num_rolled_back,
    )
