"""Shortcuts in real training steps, compared with the results of FakeTensorMode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from probe.batch.prediction.shortcuts import NO_SHORTCUT, shortcut
from probe.loading.trees import tensors_of


class Comparing(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's base class is not annotated
    def __init__(self, fake_mode: FakeTensorMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's base class is not annotated
        self.fake_mode = fake_mode
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = shortcut(func, args, kwargs or {}, self.fake_mode)
        expected = func(*args, **(kwargs or {}))
        if found is not NO_SHORTCUT:
            self.seen[func.overloadpacket.__name__] += 1
            assert described(found, args) == described(expected, args), func
        return expected


def described(result: Any, args: Any) -> list[tuple[Any, ...]]:
    """Shape, strides, type and storage of every tensor, and which arguments it shares the storage with.

    Strides of dimensions with one element mean nothing, and those of tensors without any do not either.
    """
    arguments = [one.untyped_storage()._cdata for one in tensors_of(args)]
    found = []
    for one in tensors_of([result]):
        strides = [step for size, step in zip(one.shape, one.stride(), strict=True) if size > 1 and one.numel() > 0]
        storage = one.untyped_storage()
        shared = [number for number, address in enumerate(arguments) if address == storage._cdata]
        found.append((tuple(one.shape), strides, one.dtype, storage.nbytes(), shared))
    return found


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.layer(images.reshape(len(images), -1, 16)).mean(1)))


def torchvision_model(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None)


@pytest.mark.parametrize(
    ("model", "used"),
    [
        (
            torchvision_model("mobilenet_v3_small"),
            "convolution convolution_backward native_batch_norm_backward mul mean",
        ),
        (torchvision_model("shufflenet_v2_x0_5"), "cat native_batch_norm transpose clone threshold_backward"),
        (Attention, "addmm bmm mm native_layer_norm native_layer_norm_backward gelu_backward sum _unsafe_view"),
    ],
    ids=["mobilenet", "shufflenet", "attention"],
)
def test_short_cuts_lead_to_the_same_place(model: Callable[[], nn.Module], used: str) -> None:
    fake_mode = FakeTensorMode()
    comparing = Comparing(fake_mode)
    with fake_mode:
        network = model()
        optimizer = torch.optim.SGD(network.parameters(), momentum=0.9, foreach=True)
        images, classes = torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
        with comparing:
            loss = nn.functional.cross_entropy(network(images), classes)
            torch.autograd.backward(loss)
            optimizer.step()
            network.eval()
            with torch.no_grad():
                network(images + 1)
    missing = set(used.split()) - comparing.seen.keys()
    assert not missing, comparing.seen
