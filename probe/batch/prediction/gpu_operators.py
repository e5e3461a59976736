"""Operators that PyTorch runs differently on CUDA than on fake CPU tensors: dropout keeps a mask of one byte per element,
attention runs in the fused kernels for CUDA, which save other tensors for the backward pass, and results are added in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, library
from torch._subclasses.fake_tensor import FakeTensor

_ATEN = torch.ops.aten
_LARGEST_FLASH_HEAD = 256
_FLASH_ALIGNMENT = 8
_EFFICIENT_ALIGNMENT_BYTES = 16
_MASK_ALIGNMENT = 16
_KEY = "AutogradCPU"
_NO_BACKWARD_PASS = -1
_HOLDERS_OF_ONE_TENSOR = 2
"""Holders of the storage of a fake: the fake, and the object that counts them."""


@contextmanager
def gpu_operators() -> Iterator[None]:
    """Run these operators on CPU tensors as on CUDA."""
    with library._scoped_library("aten", "IMPL") as kernels:
        kernels.impl("linear", _linear, _KEY)
        kernels.impl("rms_norm", _rms_norm, _KEY)
        kernels.impl("dropout", _dropout, _KEY)
        kernels.impl("scaled_dot_product_attention", _attention, _KEY)
        yield


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """Add the bias in place, which PyTorch does not do with fakes. Source: `linear` in aten/src/ATen/native/Linear.cpp."""
    if bias is None or inputs.dim() == 2 or (inputs.dim() == 3 and inputs.is_contiguous()):
        return _ATEN.linear.default.decompose(inputs, weight, bias)
    return torch.matmul(inputs, weight.t()).add_(bias)


class _FusedRmsNorm(torch.autograd.Function):
    """Saves the inputs and their inverse roots, as `_fused_rms_norm` for CUDA; on the CPU PyTorch saves every intermediate."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor | None, num_dims: int) -> Any:
        roots = inputs.new_empty([*inputs.shape[: inputs.dim() - num_dims], *[1] * num_dims], dtype=torch.float32)
        ctx.save_for_backward(inputs, weight, roots)
        return torch.empty_like(inputs, memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        inputs, weight, _ = ctx.saved_tensors
        return torch.empty_like(inputs), None if weight is None else torch.empty_like(weight), None


def _rms_norm(
    inputs: Tensor, normalized_shape: list[int], weight: Tensor | None = None, eps: float | None = None
) -> Any:
    return _FusedRmsNorm.apply(inputs, weight, len(normalized_shape))


def _dropout(inputs: Tensor, p: float, train: bool) -> Any:
    """Source: `dropout` and `is_fused_kernel_acceptable` in aten/src/ATen/native/Dropout.cpp."""
    if train and 0 < p < 1 and inputs.numel() > 0:
        return _ATEN.native_dropout.default(inputs, p, train)[0]
    return _ATEN.dropout.default.decompose(inputs, p, train)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Source: `scaled_dot_product_attention` in aten/src/ATen/native/transformers/attention.cpp, and the choice of a kernel
    in cuda/sdp_utils.cpp, for compute capability 8.0 and later. cuDNN's kernel saves what the flash kernel saves."""
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -torch.inf)
    has_fused = _has_fused_kernels(query, key, value)
    if has_fused and attn_mask is None and _takes_flash(query):
        size = query.shape[-1]
        padded = (_padded(tensor, _FLASH_ALIGNMENT) for tensor in (query, key, value))
        scale = size**-0.5 if scale is None else scale
        attend = _ATEN._scaled_dot_product_flash_attention.default
        attended = attend(*padded, dropout_p, is_causal, False, scale=scale)[0]
        return attended if size % _FLASH_ALIGNMENT == 0 else attended.narrow(-1, 0, size)
    if has_fused and not enable_gqa and _takes_efficient(query, value):
        if attn_mask is not None:
            length = attn_mask.shape[-1]
            shape = (*query.shape[:2], query.shape[2], key.shape[2])
            attn_mask = _padded(attn_mask, _MASK_ALIGNMENT).narrow(-1, 0, length).expand(shape)
        saves = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
        return _ATEN._scaled_dot_product_efficient_attention.default(
            query, key, value, attn_mask, saves, dropout_p, is_causal, scale=scale
        )[0]
    return _ATEN._scaled_dot_product_attention_math.default(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]


def _has_fused_kernels(query: Tensor, key: Tensor, value: Tensor) -> bool:
    tensors = (query, key, value)
    return (
        all(tensor.dim() == 4 and tensor.stride(-1) == 1 and tensor.numel() > 0 for tensor in tensors)
        and query.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and all(tensor.shape[0] == query.shape[0] for tensor in tensors)
    )


def _takes_flash(query: Tensor) -> bool:
    return (
        query.dtype is not torch.float32
        and query.shape[-1] <= _LARGEST_FLASH_HEAD
        and torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]  # not annotated by torch
    )


def _takes_efficient(query: Tensor, value: Tensor) -> bool:
    alignment = _EFFICIENT_ALIGNMENT_BYTES // query.dtype.itemsize
    return (
        query.shape[-1] % alignment == 0
        and value.shape[-1] % alignment == 0
        and torch.backends.cuda.mem_efficient_sdp_enabled()  # type: ignore[no-untyped-call]  # not annotated by torch
    )


def _padded(tensor: Tensor, multiple: int) -> Tensor:
    """Pad the last dimension with zeros to a multiple."""
    missing = -tensor.shape[-1] % multiple
    return torch.nn.functional.pad(tensor, (0, missing)) if missing else tensor


def accumulated(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the gradient to which autograd adds another one in place, or None. It does so if nothing else holds the gradient,
    but not with fakes, nor on a simulated device. Source: `accumulate` in torch/csrc/autograd/input_buffer.cpp."""
    if func is not _ATEN.add.Tensor or kwargs or torch._C._current_graph_task_id() == _NO_BACKWARD_PASS:
        return None
    one, other = args
    if not (isinstance(one, FakeTensor) and isinstance(other, FakeTensor)) or torch.is_grad_enabled():
        return None
    if one.shape != other.shape or one.dtype is not other.dtype:
        return None
    return next((gradient for gradient in args if _is_held_once(gradient)), None)


def _is_held_once(tensor: FakeTensor) -> bool:
    storage = tensor.untyped_storage()
    fills_storage = storage.nbytes() == tensor.numel() * tensor.element_size() and 0 not in tensor.stride()
    num_holders: int = torch._C._storage_Use_Count(storage._cdata)
    return fills_storage and num_holders == _HOLDERS_OF_ONE_TENSOR
