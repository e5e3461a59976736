"""Sweeps on a scripted device: results, predictions, errors and interruptions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_device import ScriptedDevice, ScriptedRunner, line_model, task_error

from probe.batch.decide import MIN_TIMEOUT_SECONDS, Limits, floor_power_of_two, most_samples
from probe.batch.records import Attempt, BatchResult, Outcome
from probe.batch.sweep import SweepOptions, num_samples_used, run_sweep
from probe.errors import DeviceError, ProbeError, TaskError, UsageError, UserCodeError
from probe.records_json import from_plain, to_plain


def sweep(runner: ScriptedRunner, **options: Any) -> tuple[BatchResult, ProbeError | None]:
    limits: dict[str, Any] = {name: options.pop(name) for name in ("start", "max", "confirms") if name in options}
    direct = {name: options.pop(name) for name in ("observer", "predict") if name in options}
    limits["size_only"] = options.get("size_only", False)
    return run_sweep(runner, task="a task", limits=Limits(**limits), options=SweepOptions(**options), **direct)


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


@given(st.integers(0, 20_000), st.integers(0, 300), st.integers(1, 256))
def test_a_sweep_sees_no_more_samples_than_it_may(max_samples: int, limit: int, most: int) -> None:
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=limit))
    result, error = sweep(runner, start=most, max=most, size_only=True, max_samples=max_samples)
    assert error is None
    assert num_samples_used(result.attempts) <= max_samples
    if result.stopped_by == "nothing_fits":
        assert result.attempts[-1].batch_size == 1
    if limit >= most and max_samples >= most_samples(most):
        assert result.largest_fit == floor_power_of_two(most)


def test_attempts_after_a_fit_end_early_by_default() -> None:
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=300))
    sweep(runner)
    known = {
        (upcoming.batch_size, upcoming.purpose): seconds
        for upcoming, seconds in zip(runner.requested, runner.timeouts, strict=True)
    }
    assert known[(512, "size")] is None
    assert known[(256, "size")] is None, "nothing has fit before"
    assert known[(128, "throughput")] == MIN_TIMEOUT_SECONDS
    assert known[(256, "confirm")] is None


def test_a_given_timeout_holds_for_every_attempt() -> None:
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=300))
    sweep(runner, attempt_timeout=7.0)
    assert set(runner.timeouts) == {7.0}


def test_a_size_that_takes_too_long_is_a_limit() -> None:
    result, error = sweep(ScriptedRunner(ScriptedDevice(failures={64: "timed_out"})), start=16)
    assert (result.largest_fit, result.capped_by, result.stopped_by, error) == (32, "timeout", "finished", None)
    slow = ScriptedDevice(failures=dict.fromkeys((2**exponent for exponent in range(12)), "timed_out"))
    _, error = sweep(ScriptedRunner(slow), start=16)
    assert isinstance(error, TaskError)


def test_ctrl_c_keeps_what_was_measured() -> None:
    runner = ScriptedRunner(ScriptedDevice(limit_bytes=300), raises={3: KeyboardInterrupt()})
    result, error = sweep(runner)
    assert (result.stopped_by, result.largest_fit, error) == ("interrupted", 256, None)
    assert len(result.attempts) == 3
    assert runner.closed


def test_ctrl_c_while_the_processes_end_keeps_what_was_measured() -> None:
    class EndsSlowly(ScriptedRunner):
        def close(self) -> None:
            raise KeyboardInterrupt

    result, error = sweep(EndsSlowly(ScriptedDevice(limit_bytes=300)))
    assert (result.stopped_by, result.largest_fit, error) == ("interrupted", 256, None)


def test_ctrl_c_before_anything_fits_is_an_interruption_too() -> None:
    result, _ = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=0), raises={1: KeyboardInterrupt()}))
    assert (result.stopped_by, result.largest_fit) == ("interrupted", None)


def test_an_error_that_has_nothing_to_do_with_the_size_comes_beside_what_was_measured() -> None:
    raised = task_error("ValueError: bad data")
    result, error = sweep(ScriptedRunner(ScriptedDevice(), raises={1: raised}))
    assert error is raised
    assert (result.stopped_by, result.largest_fit) == ("error", 512)
    last = result.attempts[-1]
    assert (last.outcome, last.message, last.traceback) == ("error", "ValueError: bad data", "Traceback: theirs")


def test_an_error_of_larger_batches_is_no_error_of_the_sweep() -> None:
    result, error = sweep(ScriptedRunner(ScriptedDevice(failures={1024: "error"})))
    assert (result.stopped_by, result.largest_fit, result.capped_by, error) == ("finished", 512, "error", None)


@pytest.mark.parametrize(("outcome", "kind"), [("kernel_limit", UserCodeError), ("crashed", TaskError)])
def test_an_error_at_every_size_is_raised_in_its_own_words(outcome: Outcome, kind: type[TaskError]) -> None:
    device = ScriptedDevice(failures={512: outcome, 1: outcome})
    if kind is UserCodeError:
        device = replace(device, traceback="Traceback: theirs")
    result, error = sweep(ScriptedRunner(device))
    assert (result.stopped_by, result.largest_fit, len(result.attempts)) == ("error", None, 2)
    assert type(error) is kind
    assert error.message == "scripted"
    assert error.hint is not None
    assert "1, 512" in error.hint
    assert not isinstance(error, UserCodeError) or error.traceback == "Traceback: theirs"


def test_a_model_that_refuses_single_samples_is_no_error() -> None:
    result, error = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=1, failures={1: "error"})), start=4)
    assert (result.stopped_by, error) == ("nothing_fits", None)


def test_the_tasks_own_batch_size_is_tried() -> None:
    failures: dict[int, Outcome] = dict.fromkeys((1, 2, 32, 64, 128, 256, 512), "error")
    runner = ScriptedRunner(ScriptedDevice(failures=failures), task_batch_size=48)
    result, error = sweep(runner)
    assert (result.largest_fit, result.recommended, error) == (48, 48, None)
    assert (result.attempts[-1].purpose, result.attempts[-1].batch_size) == ("confirm", 48)


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
    assert not runner.requested


def predicted(device: ScriptedDevice, **options: Any) -> ScriptedRunner:
    profile = line_model(fixed_bytes=device.fixed_bytes, bytes_per_sample=device.bytes_per_sample)
    return ScriptedRunner(device, found=profile, **options)


@settings(deadline=None, max_examples=100)
@given(
    fixed_bytes=st.integers(1, 2000),
    bytes_per_sample=st.integers(1, 500),
    limit_bytes=st.integers(1, 10**7),
    num_samples=st.none() | st.integers(1, 10**5),
)
def test_where_the_prediction_is_right_the_size_takes_two_attempts(
    fixed_bytes: int, bytes_per_sample: int, limit_bytes: int, num_samples: int | None
) -> None:
    device = ScriptedDevice(fixed_bytes=fixed_bytes, bytes_per_sample=bytes_per_sample, limit_bytes=limit_bytes)
    result, _ = sweep(predicted(device, num_samples=num_samples))
    assert result.largest_fit == device.exhaustive(Limits(num_samples=num_samples))
    assert sum(attempt.purpose == "size" for attempt in result.attempts) <= 2
    (prediction,) = result.predictions
    assert prediction.memory_bytes == limit_bytes
    assert result.largest_fit == prediction.largest_fit or result.capped_by is not None
    if prediction.largest_fit is not None:
        assert prediction.peak_bytes == fixed_bytes + bytes_per_sample * prediction.largest_fit


def test_a_wrong_prediction_costs_attempts_and_not_the_answer() -> None:
    device = ScriptedDevice(bytes_per_sample=1, limit_bytes=100)
    runner = ScriptedRunner(device, found=line_model(fixed_bytes=0, bytes_per_sample=10))
    result, _ = sweep(runner)
    assert (result.predictions[0].largest_fit, result.largest_fit) == (8, 64)


def test_the_prediction_and_every_attempt_are_announced() -> None:
    announced: list[Any] = []
    result, _ = sweep(predicted(ScriptedDevice(limit_bytes=100)), announce=announced.append)
    assert announced.pop(0).optimizer == "adamw"
    assert announced[0].traced_as == "fake cpu"
    assert [one.batch_size for one in announced[1:]] == [attempt.batch_size for attempt in result.attempts]
    assert [point.batch_size for point in result.prediction_info.curve] == [1, 2, 4, 8, 16, 32, 64, 128]  # type: ignore[union-attr]


def test_what_the_user_says_goes_before_what_is_predicted() -> None:
    result, _ = sweep(predicted(ScriptedDevice(limit_bytes=100)), start=4)
    assert result.attempts[0].batch_size == 4


def test_without_a_device_the_prediction_is_the_answer() -> None:
    runner = predicted(ScriptedDevice(fixed_bytes=2**30, bytes_per_sample=2**30), device_problem="it is not there.")
    result, error = sweep(runner)
    assert (result.stopped_by, result.attempts, result.largest_fit, error) == ("predicted", (), None, None)
    assert [prediction.largest_fit for prediction in result.predictions] == [4, 8, 8, 16, 32, 32, 64, 128]
    assert from_plain(BatchResult, json.loads(json.dumps(to_plain(result)))) == result


def test_the_memory_of_one_gpu_can_be_given() -> None:
    runner = predicted(
        ScriptedDevice(fixed_bytes=2**30, bytes_per_sample=2**30),
        device_problem="it is not there.",
        gpu_bytes=6 * 2**30,
    )
    result, _ = sweep(runner)
    assert [(p.memory_bytes, p.largest_fit) for p in result.predictions] == [(6 * 2**30, 4)]


def test_neither_a_device_nor_a_prediction_is_an_error_that_says_both() -> None:
    with pytest.raises(DeviceError, match=r"no GPU to measure: it is not there.* predicted .*: scripted"):
        sweep(ScriptedRunner(ScriptedDevice(), device_problem="it is not there."))


def test_no_prediction_is_no_reason_to_stop() -> None:
    result, _ = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=100)))
    assert result.largest_fit == 64
    assert (result.prediction_info.failure, result.predictions) == ("scripted", ())  # type: ignore[union-attr]
    unasked, _ = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=100)), predict=False)
    assert unasked.prediction_info is None


def test_the_confirming_run_can_be_left_out() -> None:
    result, _ = sweep(ScriptedRunner(ScriptedDevice(limit_bytes=100)), confirms=False)
    assert "confirm" not in {attempt.purpose for attempt in result.attempts}
    assert result.largest_fit == 64
