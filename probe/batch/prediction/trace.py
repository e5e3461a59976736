"""What the training step allocates, learnt from running it on fake tensors: sizes without data, in seconds, on any machine.

The step is the real one (`TrainingRun`): a fresh model and optimizer, whole training steps, an evaluation step. Every storage
that an operator makes is entered with its size when it is made and again when it is freed, by the rules of SimulatedDevice.
"""

from __future__ import annotations

import copy
import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensor, FakeTensorMode
from torch.nn.parameter import is_lazy

from probe.batch.prediction.allocation_model import Trace
from probe.batch.prediction.fake_operators import UnpackedSequences, constant_fake
from probe.batch.prediction.recorder import Recorder, UntraceableError
from probe.batch.prediction.traced_batches import MAX_READ_BYTES
from probe.device.cpu import CpuDevice
from probe.errors import ProbeError, first_line
from probe.loading.batch import Batch
from probe.loading.random_state import random_state_kept
from probe.loading.trees import num_bytes, tensors_of
from probe.task import Task
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

_FAKE_TENSOR_LOG = logging.getLogger(fake_tensor.__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A trace, and what else was seen on the way."""

    trace: Trace
    uses_convolutions: bool
    uses_matrix_products: bool
    has_recurrent_layers: bool
    reads_values: bool
    """Whether what is done depends on values of the batch."""
    num_bounded: int
    """Operators whose results are as large as they can get, since their size depends on values that a trace does not have."""
    eval_failure: str | None
    """Why the evaluation step is not in the trace; None where it is."""


def trace_run(
    task: Task,
    settings: TrainerSettings,
    batch: Batch,
    *,
    val_batch: Batch | None,
    example: Batch,
    micro_batch: int,
    num_steps: int,
    as_cuda: bool,
    seed: int,
) -> Traced:
    """Train `num_steps` steps on fakes of `batch`, then evaluate once.

    Args:
        batch: tensors on the CPU, whose values are looked at where the model does so; on the meta device they have none.
        val_batch: what is evaluated; None: `batch`.
        example: a small batch with values, for lazy modules.
        micro_batch: how many of its samples the model sees at once; kept in the trace.
        as_cuda: do what PyTorch's optimizers do on a GPU: work on all weights at once, with more scratch memory.

    Raises:
        UntraceableError: the model needs the values of tensors, or an operator has no fake.
        ProbeError: the task breaks its contract.
    """
    with random_state_kept(torch.device("cpu")), warnings.catch_warnings(), _no_collection(), _values_kept():
        warnings.simplefilter("ignore")
        _FAKE_TENSOR_LOG.disabled = True  # an operator that fails is a value here, and no news for the terminal
        try:
            return _trace(task, settings, batch, val_batch, example, micro_batch, num_steps, as_cuda, seed)
        except (ProbeError, UntraceableError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(str(error))}"
        finally:
            _FAKE_TENSOR_LOG.disabled = False
        raise UntraceableError(reason)  # out here, without the frames of `error` and their tensors


def _trace(
    task: Task,
    settings: TrainerSettings,
    batch: Batch,
    val_batch: Batch | None,
    example: Batch,
    micro_batch: int,
    num_steps: int,
    as_cuda: bool,
    seed: int,
) -> Traced:
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = Recorder(fake_mode)
    fakes = _fakes(fake_mode, batch)
    val_fakes = None if val_batch is None else _fakes(fake_mode, val_batch)
    run = _build(task, settings, example, fake_mode, recorder, seed)
    if as_cuda:
        for group in run.optimizer.param_groups:
            if group.get("foreach", 0) is None and not group.get("fused"):
                group["foreach"] = True
    _record_updates(run, recorder)
    with fake_mode, recorder, UnpackedSequences(fake_mode):
        recorder.enter_phase("data")
        on_device = fakes.to(torch.device("cpu"), copy=True)
        recorder.enter_phase("activations")
        run.model.train()
        for _ in range(num_steps):
            run.train_step(on_device)
            recorder.answer = None
            recorder.label("gradients", (weight.grad for weight in run.model.parameters()))
            recorder.label("optimizer_state", tensors_of(list(run.optimizer.state.values())))
        num_training = recorder.num_allocations
        if val_fakes is not None:
            del on_device  # makes room for the next batch
            recorder.enter_phase("data")
            on_device = val_fakes.to(torch.device("cpu"), copy=True)
            recorder.enter_phase("activations")
        eval_failure = _evaluate(run, on_device, recorder)
    return Traced(
        trace=recorder.trace(micro_batch, num_training),
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
    """Of a tensor on the CPU, with its values where they are few; of one on the meta device, without."""
    if tensor.is_meta:
        return FakeTensor(fake_mode, tensor, torch.device("cpu"))
    if num_bytes(tensor) > MAX_READ_BYTES or tensor.layout is not torch.strided:
        return fake_mode.from_tensor(tensor)
    return constant_fake(fake_mode, tensor)


def _build(
    task: Task, settings: TrainerSettings, example: Batch, fake_mode: FakeTensorMode, recorder: Recorder, seed: int
) -> TrainingRun:
    """A run whose weights are fakes. A model that cannot be made of fakes is made for real and copied as fakes."""
    dataless = replace(task, train=_NoData(), val=None, test=None, time_steps=None)

    def built_of_fakes() -> Any:
        return _unmoved(task.model())

    def built_for_real() -> Any:
        with torch.utils._python_dispatch._disable_current_modes():
            real = task.model()
            _initialize_lazy_modules(task, real, example)
        with FakeCopyMode(fake_mode):
            return _unmoved(copy.deepcopy(real))

    with fake_mode, recorder:
        try:
            run = _dry_run(replace(dataless, model=built_of_fakes), settings, seed)
        except ProbeError:
            raise
        except Exception:
            run = None
        if run is None:
            run = _dry_run(replace(dataless, model=built_for_real), settings, seed)
    recorder.adopt([*run.model.parameters(), *run.model.buffers()])
    recorder.restart()
    return run


def _record_updates(run: TrainingRun, recorder: Recorder) -> None:
    """Record what the optimizer allocates as its own. It asks how many steps there were; gradient scaling asks whether any
    gradient is not finite (0: none is)."""
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


def _dry_run(task: Task, settings: TrainerSettings, seed: int) -> TrainingRun:
    return TrainingRun(
        task, settings, device=CpuDevice(), seed=seed, stops_at_nan=False
    )  # fakes are never found finite


def _initialize_lazy_modules(task: Task, model: Any, example: Batch) -> None:
    """The first forward pass of a real model gives its lazy modules their sizes."""
    if not any(map(is_lazy, model.parameters())):
        return
    with torch.no_grad():
        if task.forward is not None:
            task.forward(model, example.content)
        else:
            model(*example.content[:-1])


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
        failure = f"{type(error).__name__}: {first_line(str(error))}"
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


@contextmanager
def _values_kept() -> Iterator[None]:
    """Fakes of which the values are known, and what operators make of them, keep the values where they are few.

    PyTorch keeps single numbers only."""
    before = fake_tensor.CONSTANT_NUMEL_LIMIT
    fake_tensor.CONSTANT_NUMEL_LIMIT = MAX_READ_BYTES // 4
    try:
        yield
    finally:
        fake_tensor.CONSTANT_NUMEL_LIMIT = before
