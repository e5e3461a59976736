"""Memory that PyTorch's kernels for CUDA allocate for themselves and free when they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

_ATEN = torch.ops.aten
_COPIED: dict[Any, tuple[int, ...]] = {
    _ATEN.native_layer_norm.default: (0,),
    _ATEN.native_layer_norm_backward.default: (0, 1),
    _ATEN.native_group_norm.default: (0,),
    _ATEN.native_group_norm_backward.default: (0, 1),
    _ATEN._softmax.default: (0,),
    _ATEN._log_softmax.default: (0,),
    _ATEN._softmax_backward_data.default: (0, 1),
    _ATEN._log_softmax_backward_data.default: (0, 1),
}
"""Operator -> positions of the arguments that it copies if they are not contiguous."""
_REDUCTIONS = frozenset({_ATEN.sum.dim_IntList, _ATEN.mean.dim})

_RESIDENT_THREADS = 132 * 2048
"""Threads that a GPU runs at the same time. These are those of an H100 or H200; most GPUs run fewer and take less memory."""
_MAX_THREADS = 512
_WARP = 32
_VECTOR = 4
_MIN_VALUES = 16
_MAX_VALUES = 256
_SUM_BYTES = 4


def scratch_of(func: Any, args: tuple[Any, ...]) -> Iterator[int]:
    """Yield the sizes of the allocations that an operator makes besides its results."""
    for position in _COPIED.get(func, ()):
        if not args[position].is_contiguous():
            yield args[position].numel() * args[position].element_size()
    if func in _REDUCTIONS and len(args) > 1 and args[1]:
        num_bytes = _reduction_bytes(args[0], args[1])
        if num_bytes:
            yield num_bytes


def _reduction_bytes(inputs: Tensor, dims: Sequence[int]) -> int:
    """Return the size of the partial sums if the last dimension is not reduced, as for the gradient of a bias. They are stored
    for every thread, and many blocks of threads share the work on one column. Source: `setReduceConfig` and
    `global_memory_size` in aten/src/ATen/native/cuda/Reduce.cuh."""
    reduced = {dim % inputs.dim() for dim in dims} if inputs.dim() else set()
    if not reduced or inputs.dim() - 1 in reduced or not inputs.is_contiguous() or not inputs.numel():
        return 0
    num_inputs = 1
    for dim in reduced:
        num_inputs *= inputs.shape[dim]
    num_outputs = inputs.numel() // num_inputs
    vector = _VECTOR
    while inputs.shape[-1] % vector:
        vector //= 2
    most = _MAX_THREADS // vector
    width = min(_power_of_two(num_outputs // vector, most), _WARP)
    height = min(_power_of_two(num_inputs, most), most // width)
    width = min(_power_of_two(num_outputs // vector, most), most // height)
    if num_inputs < min(height * _MIN_VALUES, _MAX_VALUES):  # each thread computes whole sums
        return 0
    values = -(-num_inputs // height)
    num_blocks = -(-num_outputs // (width * vector))
    most_blocks = _RESIDENT_THREADS // (width * height)
    if values < _MAX_VALUES or num_blocks > most_blocks:
        return 0
    shares = max(min(-(-most_blocks // num_blocks), -(-values // _MIN_VALUES)), -(-values // _MAX_VALUES))
    return _SUM_BYTES * num_outputs * shares * width * vector if shares > 1 else 0


def _power_of_two(number: int, most: int) -> int:
    """Return the largest power of two up to `number`, at most `most`."""
    return min(1 << (max(number, 1).bit_length() - 1), most)
