"""Autocast of fake CPU tensors by PyTorch's rules for CUDA, also on machines without CUDA.

The rules of the two differ: on CUDA, for example, norms, softmax and sums run in fp32. Those for CUDA are observed: an operator
is called on tensors without data that claim to be on a GPU, and stopped after autocast has cast them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, library
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_unflatten

_ATEN = torch.ops.aten
_PRIM_DEVICE = torch.ops.prim.device.default
_GPU = torch.device("cuda", 0)
_AUTOCAST_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)


@contextmanager
def gpu_autocast() -> Iterator[None]:
    """Apply the rules for CUDA to `torch.autocast("cpu")` and `torch.autocast("cuda")` on CPU tensors."""
    rules = _Rules()
    on_gpu, on_cpu = map(_operators_with_rules, ("AutocastCUDA", "AutocastCPU"))
    with library._scoped_library("aten", "IMPL") as kernels, rules.cleared_with_autocast(), _autocast_on_cpu():
        for name in on_gpu - on_cpu:
            kernels.impl(name, rules.kernel(name), "AutocastCPU")
        for name in on_cpu - on_gpu:
            kernels.impl(name, library.fallthrough_kernel, "AutocastCPU")
        yield  # the remaining operators have the same rules on both


def _operators_with_rules(dispatch_key: str) -> set[str]:
    names = torch._C._dispatch_get_registrations_for_dispatch_key(dispatch_key)
    return {name for name in names if name.startswith("aten::")}


@contextmanager
def _autocast_on_cpu() -> Iterator[None]:
    """Make `torch.autocast("cuda")`, which code of the task may use, the context for CPU tensors."""
    init_any = torch.autocast.__init__

    def init(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        init_any(self, "cpu" if device_type == _GPU.type else device_type, *args, **kwargs)

    with _replaced(torch.autocast, "__init__", init):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@dataclass(frozen=True, slots=True)
class _Rule:
    """What autocast does to one operator with arguments of given types."""

    casts: tuple[torch.dtype, ...]
    """Type of each tensor, in the order of the arguments."""
    dtype: torch.dtype | None
    """Value of the argument `dtype`."""


@dataclass(slots=True)
class _Rules:
    """The rules that were observed so far, and the weights that were cast in the current autocast context."""

    known: dict[Any, _Rule] = field(default_factory=dict)
    cast_weights: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Identity of a weight -> the weight and its cast, which autocast makes only once."""

    def kernel(self, name: str) -> Callable[..., Any]:
        """Return the autocast kernel of an operator (`aten::sum.dim_IntList`)."""
        packet, _, overload_name = name.removeprefix("aten::").partition(".")
        overload = getattr(getattr(_ATEN, packet), overload_name or "default")
        takes_dtype = any(argument.name == "dtype" for argument in overload._schema.arguments)

        def call(*args: Any, **kwargs: Any) -> Any:
            leaves, structure = tree_flatten((args, kwargs))
            rule = self._rule(overload, leaves, structure)
            casts = iter(rule.casts)
            leaves = [self._cast(leaf, next(casts)) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            args, kwargs = tree_unflatten(leaves, structure)
            if takes_dtype and rule.dtype is not None:
                kwargs["dtype"] = rule.dtype
            with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST_CPU):
                return overload(*args, **kwargs)

        return call

    @contextmanager
    def cleared_with_autocast(self) -> Iterator[None]:
        """Drop the casts of weights whenever PyTorch drops its own, when the outermost autocast context ends."""
        clear = torch.clear_autocast_cache

        def clear_both() -> None:
            clear()
            self.cast_weights.clear()

        with _replaced(torch, "clear_autocast_cache", clear_both):
            yield

    def _rule(self, overload: Any, leaves: list[Any], structure: Any) -> _Rule:
        low = torch.get_autocast_dtype("cpu")
        types = (leaf.dtype if isinstance(leaf, Tensor) else isinstance(leaf, torch.dtype) for leaf in leaves)
        key = (overload, low, *types)
        if key not in self.known:
            self.known[key] = _observed_rule(overload, leaves, structure, low)
        return self.known[key]

    def _cast(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if tensor.dtype is dtype:
            return tensor
        is_weight = tensor.requires_grad and tensor.is_leaf and dtype is torch.get_autocast_dtype("cpu")
        if not is_weight:
            return tensor.to(dtype)
        if id(tensor) not in self.cast_weights:
            self.cast_weights[id(tensor)] = (tensor, tensor.to(dtype))
        return self.cast_weights[id(tensor)][1]


class _ReachedError(Exception):
    """An operator reached its kernel, with this value of `dtype`."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.dtype = dtype


class _OnGpu(Tensor):
    """A tensor without data that claims to be on a GPU, and remembers to which type it was cast first."""

    claimed_cast: torch.dtype | None = None

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares it as a function
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _PRIM_DEVICE:
            return _GPU
        if func is not _ATEN._to_copy.default:
            raise _ReachedError(kwargs.get("dtype"))
        args[0].claimed_cast = kwargs["dtype"]
        return _on_gpu(args[0].shape, kwargs["dtype"])


def _on_gpu(shape: Any, dtype: torch.dtype) -> _OnGpu:
    data = torch.empty(shape, dtype=dtype, device="meta")
    return torch.Tensor._make_subclass(_OnGpu, data, False, dispatch_device=True, device_for_backend_keys=_GPU)


def _observed_rule(overload: Any, leaves: list[Any], structure: Any, low: torch.dtype) -> _Rule:
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    dtype = None
    with _disable_current_modes(), torch.no_grad():
        claims = [_on_gpu(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(claims, structure)
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", low)
        try:
            overload(*args, **kwargs)
        except _ReachedError as reached:
            dtype = reached.dtype
        finally:
            torch.set_autocast_enabled("cuda", before[0])
            torch.set_autocast_dtype("cuda", before[1])
    return _Rule(tuple(claim.claimed_cast or claim.dtype for claim in claims if isinstance(claim, _OnGpu)), dtype)
