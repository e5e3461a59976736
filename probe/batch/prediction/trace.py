"""Trace the allocations of a training step by running it on fake tensors, which have sizes but no data.

The step is the real one (`TrainingRun`) with a new model and optimizer: whole training steps, then an evaluation step. The
recorder records every storage when an operator allocates it and when it is freed, by the same rules as SimulatedDevice. This
takes seconds on any machine.
"""

from __future__ import annotations

import copy
import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy

from probe.batch.prediction.allocation_model import Trace
from probe.batch.prediction.fake_operators import CopiedFakes, UnpackedSequences, constant_fake
from probe.batch.prediction.gpu_autocast import gpu_autocast
from probe.batch.prediction.gpu_operators import gpu_operators
from probe.batch.prediction.recorder import Recorder, UntraceableError
from probe.device.cpu import CpuDevice
from probe.errors import ProbeError, first_line
from probe.loading.batch import Batch
from probe.loading.random_state import random_state_kept
from probe.loading.trees import num_bytes, tensors_of
from probe.task import Task
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

NUM_STEPS = 2
"""Training steps in a trace. The optimizer allocates its state in the first step, so the second step is typical."""
MAX_READ_BYTES = 64 * 2**20
"""Larger batches are not read, and values of larger tensors are not used."""
_CPU = torch.device("cpu")
_FAKE_TENSOR_LOG = logging.getLogger(fake_tensor.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """Options of a trace."""

    micro_batch: int
    """Samples in one forward pass; stored in the trace."""
    as_gpu: bool
    """Run optimizers as PyTorch does on a GPU, on all weights at once, which takes more scratch memory."""
    seed: int
    copies_ahead: bool = False
    """Whether training copies the next batch to the device while one is in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedStep:
    """A trace, and properties of the model found on the way."""

    trace: Trace
    uses_convolutions: bool
    uses_matrix_products: bool
    has_recurrent_layers: bool
    reads_values: bool
    """Whether the step depends on values of the batch."""
    num_bounded: int
    """Number of results assumed to have their largest possible size, because it depends on values that a trace lacks."""
    eval_failure: str | None
    """Reason why the evaluation step is not in the trace; None if it is."""


def trace_run(
    task: Task,
    settings: TrainerSettings,
    batch: Batch,
    *,
    val_batch: Batch | None,
    example: Batch,
    options: TraceOptions,
) -> TracedStep:
    """Train NUM_STEPS steps on fakes of `batch`, then evaluate once, on `val_batch` if given. Batches are on the CPU, which
    makes their values available to the model, or on the meta device. `example` initializes lazy modules. Raises
    UntraceableError if the model needs unknown values or an operator does not support fakes."""
    with random_state_kept(_CPU), warnings.catch_warnings(), _no_collection(), _values_kept():
        warnings.simplefilter("ignore")
        _FAKE_TENSOR_LOG.disabled = True  # failing operators are handled here and need no log
        try:
            return _trace(task, settings, batch, val_batch, example, options)
        except (ProbeError, UntraceableError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(str(error))}"
        finally:
            _FAKE_TENSOR_LOG.disabled = False
        raise UntraceableError(reason)  # outside of the handler, without the frames of `error` and their tensors


def _trace(
    task: Task,
    settings: TrainerSettings,
    batch: Batch,
    val_batch: Batch | None,
    example: Batch,
    options: TraceOptions,
) -> TracedStep:
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder(fake_mode, as_gpu=options.as_gpu)
    fakes = _fakes(fake_mode, batch)
    val_fakes = None if val_batch is None else _fakes(fake_mode, val_batch)
    run = _build(task, settings, example, fake_mode, recorder, options)
    if options.as_gpu:
        for group in run.optimizer.param_groups:
            if group.get("foreach", 0) is None and not group.get("fused"):
                group["foreach"] = True
    _record_updates(run, recorder)
    with fake_mode, recorder, CopiedFakes(), UnpackedSequences(fake_mode), ExitStack() as stack:
        if options.as_gpu:
            stack.enter_context(gpu_autocast())
            stack.enter_context(gpu_operators())
        recorder.enter_phase("data")
        on_device = fakes.to(_CPU, copy=True)
        ahead = fakes.to(_CPU, copy=True) if options.copies_ahead else None
        recorder.enter_phase("activations")
        run.model.train()
        num_before_last_step = 0
        for _ in range(NUM_STEPS):
            num_before_last_step = recorder.num_allocations
            run.train_step(on_device)
            recorder.answer = None
            recorder.label("gradients", (weight.grad for weight in run.model.parameters()))
            recorder.label("optimizer_state", tensors_of(list(run.optimizer.state.values())))
        num_training = recorder.num_allocations
        if val_fakes is not None:
            del on_device, ahead  # one batch is freed before the next is moved
            recorder.enter_phase("data")
            on_device = val_fakes.to(_CPU, copy=True)
            recorder.enter_phase("activations")
        eval_failure = _evaluate(run, on_device, recorder)
    return TracedStep(
        trace=recorder.trace(options.micro_batch, num_before_last_step=num_before_last_step, num_training=num_training),
        uses_convolutions=recorder.uses_convolutions,
        uses_matrix_products=recorder.uses_matrix_products,
        has_recurrent_layers=any(isinstance(module, torch.nn.RNNBase) for module in run.model.modules()),
        reads_values=recorder.operators.reads_values,
        num_bounded=recorder.operators.num_bounded,
        eval_failure=eval_failure,
    )


def _fakes(fake_mode: FakeTensorMode, batch: Batch) -> Batch:
    return batch.map(lambda tensor: _fake(fake_mode, tensor))


def _fake(fake_mode: FakeTensorMode, tensor: torch.Tensor) -> FakeTensor:
    """Return a fake on the CPU, with the values of the tensor if they are few, and without those of the meta device."""
    if tensor.is_meta:
        return FakeTensor(fake_mode, tensor, _CPU)
    tensor = tensor.to(_CPU)  # data may be on a GPU
    if num_bytes(tensor) > MAX_READ_BYTES or tensor.layout is not torch.strided:
        return fake_mode.from_tensor(tensor)
    return constant_fake(fake_mode, tensor)


def _build(
    task: Task,
    settings: TrainerSettings,
    example: Batch,
    fake_mode: FakeTensorMode,
    recorder: Recorder,
    options: TraceOptions,
) -> TrainingRun:
    """Build a run whose weights are fakes. A model that cannot be built of fakes is built for real and copied as fakes."""
    dataless = replace(task, train=_NoData(), val=None, test=None, time_steps=None)

    def built_of_fakes() -> Any:
        return _unmoved(task.model())

    def built_for_real() -> Any:
        with torch.utils._python_dispatch._disable_current_modes():
            real = task.model()
            _initialize_lazy_modules(task, real, example)
        with FakeCopyMode(fake_mode):
            return _unmoved(copy.deepcopy(real))

    with fake_mode, recorder, CopiedFakes():
        try:
            run = _dry_run(replace(dataless, model=built_of_fakes), settings, options)
        except ProbeError:
            raise
        except Exception:
            run = None
        if run is None:
            run = _dry_run(replace(dataless, model=built_for_real), settings, options)
    recorder.adopt([*run.model.parameters(), *run.model.buffers()])
    recorder.restart()
    return run


def _record_updates(run: TrainingRun, recorder: Recorder) -> None:
    """Record allocations of the optimizer as scratch memory, and answer the values that the update reads: the number of steps,
    and whether any gradient is not finite (0: all are finite)."""
    num_steps = 0

    def before_step(*_: Any) -> None:
        nonlocal num_steps
        num_steps += 1
        recorder.enter_phase("scratch")
        recorder.answer = float(num_steps)

    def after_step(*_: Any) -> None:
        recorder.enter_phase("activations")
        recorder.answer = 0.0

    run.register_update_pre_hook(lambda: setattr(recorder, "answer", 0.0))
    run.optimizer.register_step_pre_hook(before_step)
    run.optimizer.register_step_post_hook(after_step)


def _dry_run(task: Task, settings: TrainerSettings, options: TraceOptions) -> TrainingRun:
    # The loss of a fake cannot be tested for NaN.
    device = _LikeGpu() if options.as_gpu else CpuDevice()
    return TrainingRun(task, settings, device=device, seed=options.seed, stops_at_nan=False)


class _LikeGpu(CpuDevice):
    """A device for which the trainer chooses what it would for a GPU."""

    is_gpu = True


def _initialize_lazy_modules(task: Task, model: Any, example: Batch) -> None:
    """Give lazy modules their sizes by a forward pass of the real model."""
    if not any(map(is_lazy, model.parameters())):
        return
    with torch.no_grad():
        if task.forward is not None:
            task.forward(model, example.content)
        else:
            model(*example.content[:-1])


def _unmoved(model: Any) -> Any:
    """Disable `model.to`: PyTorch cannot move fakes in place, and they are on the right device already."""
    if isinstance(model, torch.nn.Module):
        model.to = lambda *_, **__: model  # type: ignore[method-assign]  # for this instance only
    return model


def _evaluate(run: TrainingRun, batch: Batch, recorder: Recorder) -> str | None:
    """Record an evaluation step, or return why it failed. Operators for inference often do not support fakes."""
    before = recorder.save()
    try:
        run.eval_step(batch)
    except Exception as error:
        failure = f"{type(error).__name__}: {first_line(str(error))}"
    else:
        return None
    recorder.go_back(before)
    return failure


class _NoData:
    """Placeholder for the training set, which a trace must not read."""

    unbounded = True

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, index: int) -> Any:
        raise IndexError("a trace has no data")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disable the garbage collector, so that storages are freed exactly when their last reference is dropped."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _values_kept() -> Iterator[None]:
    """Keep the known values of small fakes, and of results computed from them. PyTorch keeps those of scalars only."""
    before = fake_tensor.CONSTANT_NUMEL_LIMIT
    fake_tensor.CONSTANT_NUMEL_LIMIT = MAX_READ_BYTES // 4
    try:
        yield
    finally:
        fake_tensor.CONSTANT_NUMEL_LIMIT = before
