"""The report of a job whose worker raised an error, died or took too long."""

from __future__ import annotations

from dataclasses import replace

from probe.errors import DeviceError, UserCodeError
from probe.search.jobs.jobs import Outcome, RungJob, RungReport
from probe.units import format_seconds
from probe.workers.death import Died
from probe.workers.worker import Raised, Returned


def timed_out(job: RungJob, seconds: float) -> RungReport:
    """The report of a job that was stopped after `seconds`."""
    message = f"Stopped at its time limit of {format_seconds(job.trial_seconds or job.max_seconds or seconds)}."
    return RungReport(outcome="timeout", seconds=seconds, message=message)


def report_of(event: Returned | Raised | Died, seconds: float, *, is_crowded: bool = False) -> RungReport:
    """The report of a job that ended with `event`, after `seconds` if the worker did not report a time. `is_crowded`: the job
    shared its GPU, so that it may be for others that memory ran out."""
    if isinstance(event, Returned):
        report: RungReport = event.value
        return replace(report, is_crowded=is_crowded and report.outcome == "oom")
    if isinstance(event, Died):
        outcome: Outcome = "host_oom" if event.lacked_memory else "crashed"
        return RungReport(outcome=outcome, seconds=seconds, message=f"The worker {event.description}")
    error = event.error
    if is_crowded and isinstance(error, DeviceError):  # there was no room for a context
        return RungReport(outcome="oom", seconds=seconds, message=error.message, is_crowded=True)
    text = str(error)
    if isinstance(error, UserCodeError):
        text = error.traceback if error.hint is None else f"{error.traceback.rstrip()}\n{error.hint}"
    return RungReport(outcome="failed", seconds=seconds, message=text)
