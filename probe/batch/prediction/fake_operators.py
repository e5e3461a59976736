"""Results of operators that FakeTensorMode does not support well: recurrent layers, packed sequences, selection by value.

If the size of a result depends on values, the values of the batch are used if they are known (`FakeTensor.constant`).
Otherwise the result is assumed to have its largest possible size, and is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from probe.batch.prediction.shortcuts import contiguous_fake

_ATEN = torch.ops.aten
_LOSSES = frozenset(
    {
        _ATEN.mse_loss.default,
        _ATEN.smooth_l1_loss.default,
        _ATEN.soft_margin_loss.default,
        _ATEN.binary_cross_entropy.default,
    }
)
"""Losses that are computed for each element first and then reduced to the mean in the same storage."""
_LSTM = 2
"""ATen's mode number of an LSTM (aten/src/ATen/native/cudnn/RNN.cpp)."""
_PAGE_BYTES = 4096
_CACHE_LINE_BYTES = 64
NO_RULE = object()


def known_value(tensor: Any) -> Tensor | None:
    """Return the values of a tensor, or None if they are unknown."""
    if isinstance(tensor, FakeTensor):
        value: Tensor | None = tensor.constant
        return value
    return tensor if isinstance(tensor, Tensor) else None


def constant_fake(fake_mode: FakeTensorMode, value: Tensor) -> FakeTensor:
    """Make a fake with known values."""
    return fake_mode.fake_tensor_converter.from_real_tensor(fake_mode, value, make_constant=True)


class FakeOperators:
    """Computes the results of these operators on fakes."""

    def __init__(self, fake_mode: FakeTensorMode) -> None:
        self._fake_mode = fake_mode
        self.num_bounded = 0
        """Number of results assumed to have their largest possible size."""
        self.reads_values = False
        """Whether the size of a result, or the control flow, depends on values of the batch."""
        self._real = WeakIdKeyDictionary()
        """Batch sizes of packed sequences. ATen reads them without the dispatcher, so they are real tensors."""

    def result(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of `func`, or NO_RULE."""
        if self._real and any(self.is_real(argument) for argument in args):
            return self._of_real(func, args, kwargs)
        if func is _ATEN.mkldnn_rnn_layer.default:
            return self._mkldnn_rnn_layer(func, args)
        if func is _ATEN.mkldnn_rnn_layer_backward.default:
            *gradients, of_bias, of_hidden, of_cell = func(*args)
            # PyTorch returns one fake for both biases.
            return *gradients, _like(self._fake_mode, of_bias), of_hidden, of_cell
        if func is _ATEN._coalesce.default:  # the number of duplicate indices is unknown
            self.num_bounded += 1
            return self._sparse_like(args[0], is_coalesced=True)
        if func is _ATEN.sparse_mask.default:
            return self._sparse_like(args[1], is_coalesced=True)
        if func is _ATEN.clone.default and args[0].layout is torch.sparse_coo:
            return self._sparse_like(args[0], is_coalesced=args[0].is_coalesced())
        if func in _LOSSES:
            return self._mean_loss(func, args, kwargs)
        if func is _ATEN._pack_padded_sequence.default:
            return self._pack(*args)
        if func is _ATEN.index.Tensor:
            return self._index(func, args[0], args[1])
        if func in (_ATEN.nonzero.default, _ATEN.masked_select.default, _ATEN._unique2.default):
            return self._select(func, args, kwargs)
        return NO_RULE

    def is_real(self, tensor: Any) -> bool:
        """Return whether this is one of the few tensors with data in a trace."""
        return type(tensor) is Tensor and tensor in self._real

    def _of_real(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if any(isinstance(argument, FakeTensor) for argument in args):
            return NO_RULE
        with _disable_current_modes():
            result = func(*args, **kwargs)
            if isinstance(result, Tensor):
                self._real[result] = True
        return result

    def _sparse_like(self, sparse: Any, *, is_coalesced: bool) -> Any:
        """Make a sparse fake with as many entries as `sparse`; those of FakeTensorMode have none."""
        indices, values = (_like(self._fake_mode, part) for part in (sparse._indices(), sparse._values()))
        return _ATEN._sparse_coo_tensor_with_dims_and_tensors.default(
            sparse.sparse_dim(),
            sparse.dense_dim(),
            sparse.shape,
            indices,
            values,
            dtype=sparse.dtype,
            layout=torch.sparse_coo,
            device=sparse.device,
            is_coalesced=is_coalesced,
        )

    def _mean_loss(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a scalar in a storage as large as that of the elements."""
        loss = func(*args, **kwargs)
        if loss.dim() > 0 or known_value(loss) is not None:
            return loss
        shape = _broadcast(args[0], args[1])
        elements = contiguous_fake(self._fake_mode, shape, loss.dtype)
        with in_kernel_invocation_manager(self._fake_mode):
            return FakeTensor(self._fake_mode, elements.resize_(()), elements.fake_device)

    def _mkldnn_rnn_layer(self, func: Any, args: tuple[Any, ...]) -> Any:
        output, hidden, cell, workspace = func(*args)
        inputs, mode, hidden_size, is_training = args[0], args[9], args[10], args[15]
        if is_training and mode == _LSTM:
            steps, samples, input_size = inputs.shape  # always with the steps first, even if the layer is batch_first
            size = lstm_workspace_bytes(
                steps, samples, input_size=input_size, hidden_size=hidden_size, itemsize=inputs.dtype.itemsize
            )
            workspace = contiguous_fake(self._fake_mode, (size,), torch.uint8)
        return output, hidden, cell, workspace

    def _pack(self, inputs: Any, lengths: Any, batch_first: bool) -> Any:
        """Pack padded sequences sorted by length: return (num_steps of all sequences, ...), and the batch size of each step."""
        known = known_value(lengths)
        if known is None:
            return NO_RULE
        self.reads_values = True
        with _disable_current_modes():
            steps = torch.arange(int(known[0]))
            batch_sizes = (known.unsqueeze(0) > steps.unsqueeze(1)).sum(1)
            self._real[batch_sizes] = True
            num_steps = int(known.sum())
        return contiguous_fake(self._fake_mode, (num_steps, *inputs.shape[2:]), inputs.dtype), batch_sizes

    def _index(self, func: Any, indexed: Any, indices: list[Any]) -> Any:
        if not any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices):
            return NO_RULE
        places: list[Any] = []
        for index in indices:
            places += [index] if index is None or index.dtype not in (torch.bool, torch.uint8) else self._places(index)
        return func(indexed, places)

    def _places(self, mask: Any) -> Iterable[Any]:
        """Return the indices of true entries, one tensor for each dimension of the mask."""
        known = known_value(mask)
        if known is not None:
            self.reads_values = True
            with _disable_current_modes():
                places = known.nonzero().unbind(1)
            return [constant_fake(self._fake_mode, place) for place in places]
        self.num_bounded += 1
        return [contiguous_fake(self._fake_mode, (mask.numel(),), torch.int64) for _ in range(mask.dim())]

    def _select(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = args[0]
        if all(known_value(argument) is not None for argument in args if isinstance(argument, Tensor)):
            return NO_RULE
        if func is _ATEN.masked_select.default:
            known = known_value(args[1])
            if known is None:
                self.num_bounded += 1
                count = _broadcast(tensor, args[1]).numel()
            else:
                with _disable_current_modes():
                    count = int(known.expand(_broadcast(tensor, known)).sum())
            return contiguous_fake(self._fake_mode, (count,), tensor.dtype)
        self.num_bounded += 1
        count = tensor.numel()
        if func is _ATEN.nonzero.default:
            return contiguous_fake(self._fake_mode, (count, tensor.dim()), torch.int64)
        given = dict(zip(("sorted", "return_inverse", "return_counts"), args[1:], strict=False)) | kwargs
        counts = (count,) if given.get("return_counts") else (0,)
        inverse = tensor.shape if given.get("return_inverse") else (0,)
        return (
            contiguous_fake(self._fake_mode, (count,), tensor.dtype),
            contiguous_fake(self._fake_mode, inverse, torch.int64),
            contiguous_fake(self._fake_mode, counts, torch.int64),
        )


def _broadcast(one: Tensor, other: Tensor) -> torch.Size:
    shape: torch.Size = torch.broadcast_shapes(one.shape, other.shape)  # type: ignore[no-untyped-call]  # torch's own
    return shape


def _like(fake_mode: FakeTensorMode, tensor: Any) -> Any:
    return contiguous_fake(fake_mode, tensor.shape, tensor.dtype)


def lstm_workspace_bytes(steps: int, samples: int, *, input_size: int, hidden_size: int, itemsize: int) -> int:
    """Return the bytes that oneDNN saves for the backward pass of one direction of one LSTM layer.

    Source: `set_conf` and `set_offsets` in oneDNN's src/cpu/rnn/rnn_utils.hpp and .cpp (3.x). The workspace holds gates and
    outputs of each step, the states of each step and the initial one, below and above the layer, and their gradients in fp32.
    Rows are padded for matrix products (`get_good_ld`), and each part is aligned to pages.
    """
    states = 2 * (steps + 1) * samples
    widest = max(input_size, hidden_size)
    parts = (
        steps * samples * _padded(4 * hidden_size, itemsize) * itemsize,
        steps * samples * _padded(hidden_size, itemsize) * itemsize,
        states * _padded(widest, itemsize) * itemsize,
        states * hidden_size * itemsize,
        states * _padded(widest, 4) * 4,
        states * _padded(widest, 4) * 4,
        states * hidden_size * 4,
    )
    return sum(-(-part // _PAGE_BYTES) * _PAGE_BYTES for part in parts)


def _padded(numbers: int, itemsize: int) -> int:
    line = _CACHE_LINE_BYTES // itemsize
    padded = -(-numbers // line) * line
    return padded + line if padded % 256 == 0 else padded


class CopiedFakes(TorchFunctionMode):
    """Makes `copy.deepcopy` of fakes work, by which nn.TransformerEncoder makes its layers: PyTorch's own reads their memory,
    which does not exist."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is not Tensor.__deepcopy__ or not isinstance(args[0], FakeTensor):
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            copied = tensor.detach().clone()
            is_weight = isinstance(tensor, torch.nn.Parameter)
            memo[id(tensor)] = (
                torch.nn.Parameter(copied, tensor.requires_grad)
                if is_weight
                else copied.requires_grad_(tensor.requires_grad)
            )
        return memo[id(tensor)]


class UnpackedSequences(TorchFunctionMode):
    """Replaces `pad_packed_sequence`, which writes lengths into memory that fakes do not have, by the same operators."""

    def __init__(self, fake_mode: FakeTensorMode) -> None:
        super().__init__()
        self._fake_mode = fake_mode

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", None) == "_pad_packed_sequence":
            return self._pad(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _pad(
        self, data: Tensor, batch_sizes: Tensor, batch_first: bool, padding_value: float, total_length: int
    ) -> tuple[Tensor, Tensor]:
        """Unpack (num_steps of all sequences, ...) to (num_steps, num_sequences, ...); also return the length of each sequence.
        Source: `_pad_packed_sequence` in aten/src/ATen/native/PackedSequence.cpp."""
        with _disable_current_modes():
            counts = batch_sizes.tolist()
            lengths = (batch_sizes.unsqueeze(0) > torch.arange(counts[0]).unsqueeze(1)).sum(1)
        steps = max(total_length, len(counts))
        padded = torch.full((steps, counts[0], *data.shape[1:]), padding_value, dtype=data.dtype)
        first = offset = 0
        for step, count in enumerate([*counts, 0]):
            if count != counts[first]:
                num_rows = counts[first] * (step - first)
                rows = data[offset : offset + num_rows].view(step - first, counts[first], *data.shape[1:])
                padded[first:step, : counts[first]].copy_(rows)
                offset, first = offset + num_rows, step
        return padded.transpose(0, 1) if batch_first else padded, constant_fake(self._fake_mode, lengths)
