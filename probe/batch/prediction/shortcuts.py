"""Results of the most common operators on fake tensors, computed about a hundred times as fast as by FakeTensorMode.

Each rule applies only to the operators listed for it and to simple arguments. All other calls return NO_SHORTCUT and are left
to FakeTensorMode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

_ATEN = torch.ops.aten
_CPU = torch.device("cpu")
_PRESERVE = torch.preserve_format
NO_SHORTCUT = object()


def _overloads(names: str, *, in_place: bool = False) -> Iterable[Any]:
    for name in names.split():
        packet = getattr(_ATEN, f"{name}_" if in_place else name)
        for overload in packet.overloads():
            if "out" not in overload:
                yield getattr(packet, overload)


_POINTWISE = frozenset(
    _overloads(
        "add sub mul div neg relu gelu silu sigmoid tanh exp sqrt hardtanh hardswish hardsigmoid leaky_relu elu "
        "threshold_backward gelu_backward silu_backward sigmoid_backward tanh_backward hardtanh_backward "
        "hardswish_backward hardsigmoid_backward leaky_relu_backward clone"
    )
)
"""Operators whose result has the shape, strides and type of their arguments, if these are equal, dense and floating."""
_IN_PLACE = frozenset(
    [
        *_overloads(
            "add sub mul div relu hardtanh hardswish silu sigmoid fill zero copy addcmul addcdiv lerp", in_place=True
        ),
        *_overloads(
            "_foreach_add _foreach_mul _foreach_div _foreach_sqrt _foreach_addcmul _foreach_addcdiv", in_place=True
        ),
        *_overloads("_foreach_lerp", in_place=True),
    ]
)
"""Operators that only change values, which fakes do not have."""
_VIEWS = frozenset(
    _overloads("detach view slice select t transpose permute expand unsqueeze squeeze alias _unsafe_view")
)
"""Operators that PyTorch's own code for tensors without data computes quickly."""


def shortcut(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Return the result of an operator, or NO_SHORTCUT."""
    if func in _IN_PLACE:
        return _in_place(args, kwargs)
    if func in _VIEWS:
        return _view(func, args, kwargs, fake_mode)
    if func in _POINTWISE:
        return _pointwise(args, kwargs, fake_mode)
    rule = _RULES.get(func)
    return NO_SHORTCUT if rule is None else rule(args, kwargs, fake_mode)


def _is_plain(tensor: Any) -> bool:
    """Return whether this is a fake on the CPU without a known value."""
    return type(tensor) is FakeTensor and tensor.constant is None and tensor.fake_device == _CPU


def _is_plain_contiguous(tensor: Any) -> bool:
    return _is_plain(tensor) and tensor.is_contiguous()


def _like(tensor: Any, fake_mode: FakeTensorMode) -> Any:
    return _made(fake_mode, tensor.shape, tensor.stride(), tensor.dtype)


def _made(fake_mode: FakeTensorMode, shape: Any, strides: Any, dtype: torch.dtype) -> Any:
    with in_kernel_invocation_manager(fake_mode):
        made = torch.empty_strided(shape, strides, dtype=dtype, device="meta")
    return FakeTensor(fake_mode, made, _CPU)


def contiguous_fake(fake_mode: FakeTensorMode, shape: Any, dtype: torch.dtype) -> Any:
    """Make a contiguous fake on the CPU."""
    with in_kernel_invocation_manager(fake_mode):
        made = torch.empty(shape, dtype=dtype, device="meta")
    return FakeTensor(fake_mode, made, _CPU)


def _in_place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    changed = args[0]
    if isinstance(changed, list):
        return None if all(_is_plain(tensor) for tensor in changed) else NO_SHORTCUT
    return changed if _is_plain(changed) else NO_SHORTCUT


def _view(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    if not _is_plain(args[0]) or kwargs or not all(_is_number(argument) for argument in args[1:]):
        return NO_SHORTCUT
    with in_kernel_invocation_manager(fake_mode):
        view = func(*args)
    return FakeTensor(fake_mode, view, _CPU)


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, (int, float)) or (isinstance(value, list) and all(map(_is_number, value)))


def _pointwise(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Apply TensorIterator's rule: equal strides are kept, otherwise the result is contiguous in the order of dimensions."""
    first = args[0]
    if kwargs.get("memory_format") is torch.contiguous_format and _is_plain(first):  # a clone
        return contiguous_fake(fake_mode, first.shape, first.dtype)
    if not _is_plain(first) or "dtype" in kwargs or "memory_format" in kwargs or not first.dtype.is_floating_point:
        return NO_SHORTCUT
    strides = first.stride()
    all_equal = all_ordered = True
    for other in args:
        if isinstance(other, torch.Tensor):
            if not (_is_plain(other) and other.dtype is first.dtype):
                return NO_SHORTCUT
            if other.shape != first.shape:
                if not other.is_contiguous() or not _spreads_over(other.shape, first.shape):
                    return NO_SHORTCUT
                all_equal = False
                continue
            others = other.stride()
            all_equal = all_equal and others == strides
            all_ordered = all_ordered and 0 not in others and all(a >= b for a, b in pairwise(others))
        elif not (_is_number(other) or isinstance(other, str)):
            return NO_SHORTCUT
    if all_ordered:
        return contiguous_fake(fake_mode, first.shape, first.dtype)
    is_dense = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
    return _made(fake_mode, first.shape, strides, first.dtype) if all_equal and is_dense else NO_SHORTCUT


def _spreads_over(small: Sequence[int], large: Sequence[int]) -> bool:
    """Return whether shape `small` broadcasts to shape `large` without changing it."""
    matched = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(size in (1, other) for size, other in matched)


def _cat(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    parts, dim = args[0], args[1] if len(args) > 1 else 0
    if kwargs or not all(_is_plain(part) and part.is_contiguous() for part in parts):
        return NO_SHORTCUT
    first = parts[0]
    if first.dim() == 0 or any(part.dim() != first.dim() or part.dtype is not first.dtype for part in parts):
        return NO_SHORTCUT
    shape = list(first.shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return contiguous_fake(fake_mode, shape, first.dtype)


def _convolution(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Convolve contiguous arguments, not transposed: (N, C, ...) -> (N, num_filters, ...)."""
    inputs, weight, _, stride, padding, dilation, is_transposed = args[:7]
    tensors = [argument for argument in args[:3] if argument is not None]
    if kwargs or is_transposed or inputs.dim() != weight.dim() or not all(map(_is_plain_contiguous, tensors)):
        return NO_SHORTCUT
    rank = inputs.dim() - 2
    stride, padding, dilation = (list(one) * (rank // len(one)) for one in (stride, padding, dilation))
    shape = [inputs.shape[0], weight.shape[0]]
    for axis in range(rank):
        reach = dilation[axis] * (weight.shape[2 + axis] - 1) + 1
        shape.append((inputs.shape[2 + axis] + 2 * padding[axis] - reach) // stride[axis] + 1)
    return contiguous_fake(fake_mode, shape, inputs.dtype) if min(shape) > 0 else NO_SHORTCUT


def _convolution_backward(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Return the requested gradients of inputs, weights and biases."""
    gradient, inputs, weight, is_transposed, mask = args[0], args[1], args[2], args[7], args[-1]
    if kwargs or is_transposed or not all(map(_is_plain_contiguous, (gradient, inputs, weight))):
        return NO_SHORTCUT
    of_inputs, of_weight, of_bias = mask
    return (
        _like(inputs, fake_mode) if of_inputs else None,
        _like(weight, fake_mode) if of_weight else None,
        contiguous_fake(fake_mode, (weight.shape[0],), weight.dtype) if of_bias else None,
    )


def _empty(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    if not kwargs.keys() <= {"dtype", "device", "layout", "pin_memory"} or kwargs.get("pin_memory"):
        return NO_SHORTCUT
    if kwargs.get("device", _CPU) not in (None, _CPU) or kwargs.get("layout") not in (None, torch.strided):
        return NO_SHORTCUT
    return contiguous_fake(fake_mode, args[0], kwargs.get("dtype") or torch.get_default_dtype())


def _filled_like(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Make a tensor like another dense one, as optimizers do for their state."""
    like, given = args[0], {name: value for name, value in kwargs.items() if value is not None}
    if len(args) > 1 or given.pop("pin_memory", False) or given.pop("memory_format", _PRESERVE) is not _PRESERVE:
        return NO_SHORTCUT
    is_same = given.pop("dtype", like.dtype) is like.dtype and given.pop("device", _CPU) == _CPU
    if (
        given.pop("layout", torch.strided) is not torch.strided
        or given
        or not is_same
        or not _is_plain_contiguous(like)
    ):
        return NO_SHORTCUT
    return _like(like, fake_mode)


def _batch_norm(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Normalize (N, C, ...); also return mean and inverse deviation of shape (C,), which are empty in evaluation."""
    inputs, weight, is_training = args[0], args[1], args[5]
    if kwargs or not all(map(_is_plain_contiguous, args[:5])) or weight.dtype is not torch.float32:
        return NO_SHORTCUT
    count = weight.shape if is_training else (0,)
    return _like(inputs, fake_mode), *(contiguous_fake(fake_mode, count, torch.float32) for _ in range(2))


def _batch_norm_backward(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Return the gradients of inputs, weights (C,) and biases (C,)."""
    gradient, inputs, weight, mask = args[0], args[1], args[2], args[-1]
    if kwargs or list(mask) != [True, True, True] or not all(map(_is_plain_contiguous, (gradient, inputs, weight))):
        return NO_SHORTCUT
    if weight.dtype is not torch.float32:
        return NO_SHORTCUT
    return tuple(_like(tensor, fake_mode) for tensor in (inputs, weight, weight))


def _layer_norm(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Normalize over the last dimensions; also return their mean and inverse deviation."""
    inputs, normalized = args[0], args[1]
    if kwargs or not _is_plain_contiguous(inputs) or inputs.dtype is not torch.float32:
        return NO_SHORTCUT
    shape = [*inputs.shape[: inputs.dim() - len(normalized)], *[1] * len(normalized)]
    return _like(inputs, fake_mode), *(contiguous_fake(fake_mode, shape, torch.float32) for _ in range(2))


def _layer_norm_backward(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    tensors = (args[1], args[5], args[6])
    if kwargs or list(args[-1]) != [True, True, True] or not all(map(_is_plain_contiguous, (args[0], *tensors))):
        return NO_SHORTCUT
    if any(tensor.dtype is not torch.float32 for tensor in tensors):
        return NO_SHORTCUT
    return tuple(_like(tensor, fake_mode) for tensor in tensors)


def _matrix_product(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Multiply matrices (mm, bmm, and addmm, whose first argument is added)."""
    left, right = args[-2:]
    if kwargs or not all(map(_is_plain, args)) or any(one.dtype is not left.dtype for one in args):
        return NO_SHORTCUT
    if left.shape[-1] != right.shape[-2] or left.shape[:-2] != right.shape[:-2]:
        return NO_SHORTCUT
    return contiguous_fake(fake_mode, (*left.shape[:-1], right.shape[-1]), left.dtype)


def _reduction(args: tuple[Any, ...], kwargs: dict[str, Any], fake_mode: FakeTensorMode) -> Any:
    """Reduce some dimensions of a contiguous floating tensor (sum, mean)."""
    inputs, dims = args[0], args[1] if len(args) > 1 else None
    if kwargs or not dims or not _is_plain_contiguous(inputs) or not inputs.dtype.is_floating_point:
        return NO_SHORTCUT
    reduced = {dim % inputs.dim() for dim in dims}
    keeps = len(args) > 2 and args[2]
    shape = [1 if dim in reduced else size for dim, size in enumerate(inputs.shape) if keeps or dim not in reduced]
    return contiguous_fake(fake_mode, shape, inputs.dtype)


_RULES: dict[Any, Callable[[tuple[Any, ...], dict[str, Any], FakeTensorMode], Any]] = {
    _ATEN.cat.default: _cat,
    _ATEN.convolution.default: _convolution,
    _ATEN.convolution_backward.default: _convolution_backward,
    _ATEN.empty.memory_format: _empty,
    _ATEN.ones.default: _empty,
    _ATEN.zeros.default: _empty,
    _ATEN.empty_like.default: _filled_like,
    _ATEN.ones_like.default: _filled_like,
    _ATEN.zeros_like.default: _filled_like,
    _ATEN.addmm.default: _matrix_product,
    _ATEN.bmm.default: _matrix_product,
    _ATEN.mm.default: _matrix_product,
    _ATEN.mean.dim: _reduction,
    _ATEN.sum.dim_IntList: _reduction,
    _ATEN.native_layer_norm.default: _layer_norm,
    _ATEN.native_layer_norm_backward.default: _layer_norm_backward,
    _ATEN.native_batch_norm.default: _batch_norm,
    _ATEN.native_batch_norm_backward.default: _batch_norm_backward,
}
