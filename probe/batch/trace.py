"""What the training step allocates, learnt from running it on fake tensors: sizes without data, in seconds, on any machine.

The step is the real one (`TrainingRun`): a fresh model and optimizer, whole training steps, an evaluation step. Every storage
that an operator makes is entered with its size when it is made and again when it is freed, by the rules of SimulatedDevice.
"""

from __future__ import annotations

import copy
import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from probe.batch.fit import Trace
from probe.batch.recorder import Recorder, UntraceableError
from probe.device.cpu import CpuDevice
from probe.errors import ProbeError
from probe.task import Task
from probe.training.batch import Batch
from probe.training.random_state import random_state_kept
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings
from probe.training.trees import tensors_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A trace, and what else was seen on the way."""

    trace: Trace
    uses_convolutions: bool
    uses_matrix_products: bool
    eval_failure: str | None
    """Why the evaluation step is not in the trace; None where it is."""


def trace_run(
    task: Task,
    settings: TrainerSettings,
    batch: Batch,
    *,
    micro_batch: int,
    num_steps: int,
    as_cuda: bool,
    seed: int,
) -> Traced:
    """Train `num_steps` steps on fakes of `batch`, then evaluate once. No steps: one that ends before the optimizer's turn.

    Args:
        batch: of real tensors on the CPU, of which nothing but shapes and types is used.
        micro_batch: how many of its samples the model sees at once; kept in the trace.
        as_cuda: do what PyTorch's optimizers do on a GPU: work on all weights at once, with more scratch memory.

    Raises:
        UntraceableError: the model needs the values of tensors, or an operator has no fake.
        ProbeError: the task breaks its contract.
    """
    with random_state_kept(torch.device("cpu")), warnings.catch_warnings(), _no_collection():
        warnings.simplefilter("ignore")
        try:
            return _trace(task, settings, batch, micro_batch, num_steps, as_cuda, seed)
        except (ProbeError, UntraceableError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        raise UntraceableError(reason)  # out here, without the frames of `error` and their tensors


def _trace(
    task: Task, settings: TrainerSettings, batch: Batch, micro_batch: int, num_steps: int, as_cuda: bool, seed: int
) -> Traced:
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder(fake_mode)
    fakes = batch.map(fake_mode.from_tensor)
    run = _build(task, settings, fake_mode, recorder, seed)
    if as_cuda:
        for group in run.optimizer.param_groups:
            if group.get("foreach", 0) is None and not group.get("fused"):
                group["foreach"] = True
    run.optimizer.register_step_pre_hook(lambda *_: _before_optimizer(recorder, num_steps))
    run.optimizer.register_step_post_hook(lambda *_: recorder.enter_phase("activations"))
    with fake_mode, recorder:
        recorder.enter_phase("data")
        on_device = fakes.to(torch.device("cpu"), copy=True)
        recorder.enter_phase("activations")
        run.model.train()
        with suppress(_BeforeOptimizerError):
            for number in range(max(num_steps, 1)):
                recorder.num_optimizer_steps = number + 1
                run.train_step(on_device)
                recorder.label("gradients", (weight.grad for weight in run.model.parameters()))
                recorder.label("optimizer_state", tensors_of(list(run.optimizer.state.values())))
        num_training = recorder.num_allocations
        eval_failure = _evaluate(run, on_device, recorder) if num_steps > 0 else None
    return Traced(
        trace=recorder.trace(micro_batch, num_training),
        uses_convolutions=recorder.uses_convolutions,
        uses_matrix_products=recorder.uses_matrix_products,
        eval_failure=eval_failure,
    )


class _BeforeOptimizerError(Exception):
    """The part of a step that depends on the batch size is over."""


def _before_optimizer(recorder: Recorder, num_steps: int) -> None:
    if num_steps == 0:
        raise _BeforeOptimizerError
    recorder.enter_phase("scratch")


def _build(
    task: Task, settings: TrainerSettings, fake_mode: FakeTensorMode, recorder: Recorder, seed: int
) -> TrainingRun:
    """A run whose weights are fakes. A model that cannot be made of fakes is made for real and copied as fakes."""
    dataless = replace(task, train=_NoData(), val=None, test=None)

    def built_of_fakes() -> Any:
        return _unmoved(task.model())

    def built_for_real() -> Any:
        with torch.utils._python_dispatch._disable_current_modes():
            real = task.model()
        with FakeCopyMode(fake_mode):
            return _unmoved(copy.deepcopy(real))

    with fake_mode, recorder:
        try:
            run = TrainingRun(replace(dataless, model=built_of_fakes), settings, device=CpuDevice(), seed=seed)
        except ProbeError:
            raise
        except Exception:
            run = None
        if run is None:
            run = TrainingRun(replace(dataless, model=built_for_real), settings, device=CpuDevice(), seed=seed)
    recorder.adopt([*run.model.parameters(), *run.model.buffers()])
    recorder.restart()
    return run


def _unmoved(model: Any) -> Any:
    """`model`, whose `to` does nothing: PyTorch cannot move fakes in place, and they are where they shall be."""
    if isinstance(model, torch.nn.Module):
        model.to = lambda *_, **__: model  # type: ignore[method-assign]  # of this one model
    return model


def _evaluate(run: TrainingRun, batch: Batch, recorder: Recorder) -> str | None:
    """One evaluation step; why it left no trace, if it did not. Operators made for inference often have no fake."""
    before = recorder.save()
    try:
        run.eval_step(batch)
    except Exception as error:
        failure = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    else:
        return None
    recorder.go_back(before)
    return failure


class _NoData:
    """Stands for the training set while its tensors are not to be looked at."""

    unbounded = True

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, index: int) -> Any:
        raise IndexError("there is no data in a trace")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Storages are freed where their last reference goes, not where the garbage collector happens to run."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
