"""What operators do on CUDA, observed on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from probe.batch.prediction.gpu_autocast import gpu_autocast
from probe.batch.prediction.gpu_operators import gpu_operators
from probe.batch.prediction.kernel_scratch import scratch_of

LOW, FULL = torch.bfloat16, torch.float32
ATEN = torch.ops.aten

CALLS: dict[str, tuple[Callable[[Tensor], Tensor], torch.dtype]] = {
    "layer norm": (lambda x: functional.layer_norm(x, [8]), FULL),
    "group norm": (lambda x: functional.group_norm(x, 2), FULL),
    "softmax": (lambda x: x.softmax(-1), FULL),
    "sum": (lambda x: x.sum(), FULL),
    "sum of rows": (lambda x: x.sum(0), FULL),
    "power": (lambda x: x**2, FULL),
    "cross entropy": (lambda x: functional.cross_entropy(x, torch.zeros(4, dtype=torch.int64)), FULL),
    "linear": (lambda x: functional.linear(x.float(), torch.zeros(3, 8)), LOW),
    "einsum": (lambda x: torch.einsum("ij,kj->ik", x.float(), x.float()), LOW),
    "gelu": (functional.gelu, LOW),
    "mean": (lambda x: x.mean(), LOW),
}
"""With the types of the results on CUDA: https://docs.pytorch.org/docs/stable/amp.html, "Autocast Op Reference"."""


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_autocast_follows_the_rules_for_cuda(name: str, device: str) -> None:
    call, dtype = CALLS[name]
    with gpu_autocast(), torch.autocast(device, dtype=LOW):
        assert call(torch.zeros(4, 8, dtype=LOW)).dtype is dtype


def test_the_rules_for_the_cpu_come_back() -> None:
    with gpu_autocast():
        pass
    with torch.autocast("cpu", dtype=LOW):
        assert functional.layer_norm(torch.zeros(4, 8, dtype=LOW), [8]).dtype is LOW


def test_a_weight_is_cast_once() -> None:
    weight = torch.zeros(8, 8, requires_grad=True)
    seen = []
    with gpu_autocast(), torch.autocast("cpu", dtype=LOW):
        for _ in range(2):
            product = torch.mv(weight, torch.zeros(8))
            assert product.grad_fn is not None
            seen.append(product.grad_fn.next_functions[0][0])
    assert seen[0] is seen[1]


def test_dropout_keeps_one_byte_per_element() -> None:
    with gpu_operators():
        dropped = nn.Dropout(0.5)(torch.ones(100, requires_grad=True))
    assert dropped.grad_fn is not None
    assert dropped.grad_fn.name() == "NativeDropoutBackward0"


@pytest.mark.parametrize(
    ("dtype", "num_features", "has_mask", "kernel"),
    [
        (FULL, 32, False, "ScaledDotProductEfficientAttentionBackward0"),
        (LOW, 32, False, "ScaledDotProductFlashAttentionBackward0"),
        (LOW, 32, True, "ScaledDotProductEfficientAttentionBackward0"),
        (FULL, 30, False, None),
    ],
)
def test_attention_runs_in_the_kernels_of_cuda(
    dtype: torch.dtype, num_features: int, has_mask: bool, kernel: str | None
) -> None:
    query = torch.empty(2, 4, 16, num_features, dtype=dtype, device="meta", requires_grad=True)
    mask = torch.empty(16, 16, dtype=torch.bool, device="meta") if has_mask else None
    from probe.batch.prediction import gpu_operators as module

    attended = module._attention(query, query, query, mask)
    assert attended.grad_fn is not None
    name = attended.grad_fn.name()
    assert name == kernel if kernel else "ScaledDotProduct" not in name


@pytest.mark.parametrize(
    ("shape", "dims", "mib"),
    [
        ((12608, 3072), [0], 132.0),
        ((2176, 3072), [0], 51.0),
        ((12608, 768), [0], 73.875),
        ((100352, 96), [0], 18.375),
        ((64, 197, 768), [0, 1], 73.875),
        ((8, 3072), [0], 0.0),
        ((12608, 3072), [1], 0.0),
    ],
)
def test_partial_sums(shape: tuple[int, ...], dims: list[int], mib: float) -> None:
    """The sizes were measured with the driver of tests/fake_cuda, whose GPU has as many threads as an H100."""
    inputs = torch.empty(shape, device="meta")
    assert sum(scratch_of(ATEN.sum.dim_IntList, (inputs, dims))) == mib * 2**20


def test_norms_copy_what_is_not_contiguous() -> None:
    inputs = torch.empty(8, 4, device="meta")
    assert list(scratch_of(ATEN.native_layer_norm.default, (inputs.t(), [8]))) == [8 * 4 * 4]
    assert list(scratch_of(ATEN.native_layer_norm.default, (inputs, [4]))) == []
