"""The sweep around the decisions: what is kept when something ends it early."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_device import ScriptedDevice, ScriptedRunner, task_error

from probe.batch.records import Attempt, BatchResult
from probe.batch.sweep import run_sweep
from probe.codec import from_plain, to_plain
from probe.errors import ProbeError, UsageError


def sweep(runner: ScriptedRunner, **options: Any) -> tuple[BatchResult, ProbeError | None]:
    return run_sweep(runner, task="a task", **({"start": 512, "max": None} | options))


def test_a_finished_sweep_tells_everything_and_can_be_stored() -> None:
    seen: list[Attempt] = []
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=100), num_samples=5000)
    result, error = sweep(runner, observer=seen.append)
    assert error is None
    assert (result.stopped_by, result.largest_fit, result.capped_by) == ("finished", 64, None)
    assert (result.num_samples, result.limit_bytes, result.optimizer) == (5000, 100, "adamw")
    assert tuple(seen) == result.attempts
    assert runner.closed
    assert from_plain(BatchResult, json.loads(json.dumps(to_plain(result)))) == result


def test_nothing_fits() -> None:
    result, error = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=0)))
    assert (result.stopped_by, result.largest_fit, result.recommended, error) == ("nothing_fits", None, None, None)
    assert [attempt.batch_size for attempt in result.attempts] == [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]


def test_ctrl_c_keeps_what_was_measured() -> None:
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=300), raises={3: KeyboardInterrupt()})
    result, error = sweep(runner)
    assert (result.stopped_by, result.largest_fit, error) == ("interrupted", 256, None)
    assert len(result.attempts) == 3
    assert runner.closed


def test_ctrl_c_before_anything_fits_is_an_interruption_too() -> None:
    result, _ = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=0), raises={1: KeyboardInterrupt()}))
    assert (result.stopped_by, result.largest_fit) == ("interrupted", None)


def test_an_error_of_the_task_comes_beside_what_was_measured() -> None:
    raised = task_error("ValueError: bad shape")
    result, error = sweep(ScriptedRunner(ScriptedDevice(), raises={1: raised}))
    assert error is raised
    assert (result.stopped_by, result.largest_fit) == ("error", 512)
    assert result.attempts[-1].outcome == "error"
    assert result.attempts[-1].message == "ValueError: bad shape\nTraceback: theirs"


def test_a_model_that_refuses_single_samples_is_no_error() -> None:
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=1), raises={2: task_error("Expected more than 1 value")})
    result, error = sweep(runner, start=4)
    assert (result.stopped_by, error) == ("nothing_fits", None)
    assert result.attempts[-1].message is not None
    assert "Expected more than 1 value" in result.attempts[-1].message


def test_an_error_while_opening_is_raised_and_the_runner_closed() -> None:
    class Unopened(ScriptedRunner):
        def open(self) -> Any:
            raise task_error("no such data")

    runner = Unopened(ScriptedDevice())
    with pytest.raises(ProbeError, match="no such data"):
        sweep(runner)
    assert runner.closed


def test_limits_are_refused_before_anything_is_built() -> None:
    runner = ScriptedRunner(ScriptedDevice())
    with pytest.raises(UsageError, match="max must be a batch size"):
        sweep(runner, max=0)
    assert not runner.plans
