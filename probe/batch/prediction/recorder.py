"""Record every storage that operators allocate and free while they run on fake tensors."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map_only

from probe.batch.prediction.allocation_model import Kind, Trace
from probe.batch.prediction.fake_operators import NO_RULE, FakeOperators, known_value
from probe.batch.prediction.gpu_operators import accumulated
from probe.batch.prediction.kernel_scratch import scratch_of
from probe.batch.prediction.shortcuts import NO_SHORTCUT, shortcut
from probe.device.simulated import allocates
from probe.loading.trees import tensors_of

_ATEN = torch.ops.aten
_CPU = torch.device("cpu")
_PLACES = ("cpu", "meta")
"""Devices of tensors in a trace."""
_DEVICE = torch.ops.prim.device.default
_RANDOM_FILLS = frozenset({_ATEN.uniform_.default, _ATEN.normal_.default})
"""Operators that initialize weights. They have no effect on fakes, but take a tenth of a millisecond each."""
_MATRIX_PRODUCTS = frozenset(
    {
        _ATEN.addmm.default,
        _ATEN.mm.default,
        _ATEN.bmm.default,
        _ATEN.baddbmm.default,
        _ATEN.addmv.default,
        _ATEN.mv.default,
    }
)
_CONVOLUTIONS = frozenset({_ATEN.convolution.default, _ATEN.convolution_overrideable.default})

MAX_OPERATORS = 300_000
"""Limit of a trace, which a training step that processes each sample by itself may exceed."""

State = tuple[list[int], list[Kind], list[int]]


def _strided_parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the tensors that own memory: the indices and values of a sparse tensor, or the tensor itself."""
    return (tensor._indices(), tensor._values()) if tensor.layout is torch.sparse_coo else (tensor,)


class UntraceableError(Exception):
    """The training step cannot be run without data. The message gives the reason."""


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base class is not annotated
    """Records storages by the rules of SimulatedDevice: results that are not views allocate a storage, which is identified by
    its address and freed with its last view. With `as_gpu`, allocations inside of CUDA's kernels are recorded too."""

    def __init__(self, fake_mode: FakeTensorMode, *, as_gpu: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base class is not annotated
        self._fake_mode = fake_mode
        self._as_gpu = as_gpu
        self.operators = FakeOperators(fake_mode)
        self.answer: float | None = None
        """Value returned when code reads an unknown value; None if reading one makes the step untraceable."""
        self._num_operators = 0
        self.uses_convolutions = False
        self.uses_matrix_products = False
        self._phase: Kind = "weights"
        self._sizes: list[int] = []
        self._kinds: list[Kind] = []
        self._order: list[int] = []
        self._live: dict[int, int] = {}
        """Address of a live storage -> index of its allocation."""
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return True to avoid a wrapper around `__torch_dispatch__` that disables the compiler at a cost in every call."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _DEVICE:  # autograd calls this several times per operator
            return args[0].fake_device if isinstance(args[0], FakeTensor) else args[0].device
        kwargs = kwargs or {}
        if kwargs.get("device") is not None and kwargs["device"].type not in _PLACES:
            func, args, kwargs = _placed_on_cpu(func, args, kwargs)
        if func is _ATEN._local_scalar_dense.default and not self._has_value(args[0]):
            return self._value_of(args[0])
        if func is _ATEN._local_scalar_dense.default and self._phase == "activations":
            self.operators.reads_values = True
        if self._phase == "weights" and func in _RANDOM_FILLS:
            return args[0]
        if func is _ATEN.lift_fresh.default and self._is_counter(args[0]):
            kwargs = {"dtype": args[0].dtype}
            func, args = _ATEN.empty.memory_format, ([],)
        self._num_operators += 1
        if self._num_operators > MAX_OPERATORS:
            raise UntraceableError(f"a training step of more than {MAX_OPERATORS:,} operators takes too long to trace")
        scratch = [self._allocated(size) for size in scratch_of(func, args)] if self._as_gpu else []
        result = accumulated(func, args, kwargs) if self._as_gpu else None
        if result is None:
            result = shortcut(func, args, kwargs, self._fake_mode)
        if result is NO_SHORTCUT:
            args, kwargs = tree_map_only(torch.Tensor, _fake_or_on_cpu, (args, kwargs))
            result = self.operators.result(func, args, kwargs)
        if result is NO_RULE:
            result = func(*args, **kwargs)
        if func in _MATRIX_PRODUCTS:
            self.uses_matrix_products = True
        elif func in _CONVOLUTIONS:
            self.uses_convolutions = True
        is_new = allocates(func)
        if isinstance(result, torch.Tensor):
            self._enter(result, is_new)
        elif isinstance(result, (tuple, list)):
            for tensor in tensors_of(result):
                self._enter(tensor, is_new)
        self._order += [-(index + 1) for index in scratch]
        return result

    def enter_phase(self, phase: Kind) -> None:
        """Set the kind of the following allocations. `label` can change it afterwards."""
        self._phase = phase

    def label(self, kind: Kind, tensors: Iterable[torch.Tensor | None]) -> None:
        """Set the kind of the storages of these tensors."""
        for tensor in tensors:
            for part in () if tensor is None else _strided_parts(tensor):
                index = self._live.get(part.untyped_storage()._cdata)
                if index is not None:
                    self._kinds[index] = kind

    def adopt(self, tensors: Iterable[torch.Tensor]) -> None:
        """Record storages of existing tensors that no operator allocated."""
        for tensor in tensors:
            self._enter(tensor, is_new=True)

    def restart(self) -> None:
        """Forget freed storages, and record the live ones as if they had been allocated one after the other."""
        alive = sorted(self._live.items(), key=lambda entry: entry[1])
        self._sizes = [self._sizes[index] for _, index in alive]
        self._kinds = [self._kinds[index] for _, index in alive]
        self._order = list(range(1, len(alive) + 1))
        self._live = {address: new for new, (address, _) in enumerate(alive)}

    def save(self) -> State:
        return list(self._sizes), list(self._kinds), list(self._order)

    def go_back(self, state: State) -> None:
        """Discard all records since `state` was saved."""
        self._sizes, self._kinds, self._order = state
        for address in [address for address, index in self._live.items() if index >= len(self._sizes)]:
            del self._live[address], self._references[address]

    def trace(self, micro_batch: int, *, num_before_last_step: int, num_training: int) -> Trace:
        """Return the trace. Consecutive frees are sorted, because the cache of autocast is freed in the arbitrary order of
        addresses."""
        order: list[int] = []
        frees: list[int] = []
        for step in self._order:
            if step < 0:
                frees.append(step)
            else:
                order += [*sorted(frees, reverse=True), step]
                frees.clear()
        return Trace(
            micro_batch=micro_batch,
            sizes=tuple(self._sizes),
            kinds=tuple(self._kinds),
            order=(*order, *sorted(frees, reverse=True)),
            num_training=num_training,
            num_before_last_step=num_before_last_step,
        )

    @property
    def num_allocations(self) -> int:
        return len(self._sizes)

    def _enter(self, tensor: torch.Tensor, is_new: bool) -> None:
        is_fake = isinstance(tensor, FakeTensor) and tensor.layout is torch.strided and tensor.fake_device.type == "cpu"
        if not is_fake and not self.operators.is_real(tensor):
            return
        storage = tensor.untyped_storage()
        address, num_bytes = storage._cdata, storage.nbytes()
        index = self._live.get(address)
        if index is None:
            if not is_new or num_bytes == 0:
                return
            self._references[address] = weakref.ref(storage, partial(self._forget, address))
        elif self._sizes[index] == num_bytes:
            return
        else:  # it was resized in place
            self._order.append(-(index + 1))
        self._live[address] = self._allocated(num_bytes)

    def _allocated(self, num_bytes: int) -> int:
        """Record an allocation, and return its index."""
        self._sizes.append(num_bytes)
        self._kinds.append(self._phase)
        self._order.append(len(self._sizes))
        return len(self._sizes) - 1

    def _forget(self, address: int, reference: weakref.ref[torch.UntypedStorage]) -> None:
        if self._references.get(address) is reference:
            del self._references[address]
            self._order.append(-(self._live.pop(address) + 1))

    def _is_counter(self, number: torch.Tensor) -> bool:
        """Return whether a new scalar is a counter that starts at 0: of batches in batch norm, or of optimizer steps."""
        if self._phase not in ("weights", "scratch") or number.dim() > 0:
            return False
        with _disable_current_modes():  # it is still a real tensor
            return type(number) is torch.Tensor and not number.item()

    def _has_value(self, tensor: torch.Tensor) -> bool:
        is_known = isinstance(tensor, FakeTensor) and known_value(tensor) is not None
        return is_known or self.operators.is_real(tensor)

    def _value_of(self, tensor: torch.Tensor) -> bool | float:
        """Return a value in initialization and in the update, where it does not change the allocations. Raises UntraceableError
        elsewhere."""
        if self.answer is not None:
            return self.answer
        if self._phase == "weights" and tensor.dtype is torch.bool:  # checks whether any draw is out of range
            return False
        raise UntraceableError(f"the training step depends on the value of a tensor: {_line_of_caller()}")


def _placed_on_cpu(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return a call that makes its result on the CPU instead of a GPU that the task names. Tensors are there already, and are
    not copied."""
    if func is _ATEN._to_copy.default and kwargs.get("dtype") in (None, args[0].dtype):
        return _ATEN.alias.default, args, {}
    return func, args, {**kwargs, "device": _CPU}


def _fake_or_on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor with data, like the weights of classes in a loss, from the GPU to the CPU."""
    if isinstance(tensor, FakeTensor) or tensor.device.type in _PLACES:
        return tensor
    with _disable_current_modes():
        return tensor.to(_CPU)


def _line_of_caller() -> str:
    """Return the innermost line outside of PyTorch and this folder, which read the value."""
    ours = (os.path.dirname(torch.__file__), os.path.dirname(__file__))
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(ours):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno} ({frame.f_code.co_name})"
