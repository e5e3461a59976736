"""Small tasks whose memory is hard to predict, one for each kind. Used by `batch_prediction.py` and by tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as everywhere
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from probe.task import Task

NUM_SAMPLES = 300
WIDTH = 16


@dataclass(frozen=True)
class Kind:
    name: str
    make: Callable[[], Task]
    batch_size: int = 16
    """Batch size in tests."""
    is_bound: bool = False
    """Whether the prediction is an upper bound, because sizes depend on computed values; otherwise it is exact."""


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _numbers(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(NUM_SAMPLES, *shape, generator=_generator()), torch.arange(NUM_SAMPLES) % 10


def _words(length: int, count: int) -> Tensor:
    return torch.randint(0, count, (NUM_SAMPLES, length), generator=_generator())


def _mlp(*, lazy: bool = False) -> nn.Module:
    first, last = (nn.LazyLinear(32), nn.LazyLinear(10)) if lazy else (nn.Linear(WIDTH, 32), nn.Linear(32, 10))
    return nn.Sequential(first, nn.ReLU(), last)


class Function(nn.Module):
    """Layers with a given forward function."""

    def __init__(self, forward: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self._forward = forward

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._forward(self.layers, *inputs)


def _task(
    forward: Callable[..., Tensor], layers: Callable[[], dict[str, nn.Module]], train: Any, **options: Any
) -> Task:
    return Task(model=lambda: Function(forward, **layers()), train=train, **options)


def recurrent(kind: Callable[..., nn.Module], **options: Any) -> Task:
    directions = 2 if options.get("bidirectional") else 1
    outputs = (options.get("proj_size") or 24) * directions

    def forward(layers: Any, inputs: Tensor) -> Tensor:
        return torch.as_tensor(layers.head(layers.cells(inputs)[0].mean(1)))

    def layers() -> dict[str, nn.Module]:
        return {"cells": kind(WIDTH, 24, batch_first=True, **options), "head": nn.Linear(outputs, 10)}

    return _task(forward, layers, _numbers(6, WIDTH))


class Sequences:
    """Make sequences of 1 to 12 steps."""

    def __len__(self) -> int:
        return NUM_SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((1 + (index * 7) % 12, WIDTH), float(index % 3)), index % 10


def _padded(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    lengths = torch.tensor([len(steps) for steps, _ in samples])
    return (
        pad_sequence([steps for steps, _ in samples], batch_first=True),
        lengths,
        torch.tensor([y for _, y in samples]),
    )


def packed(kind: Callable[..., nn.Module]) -> Task:
    def forward(layers: Any, steps: Tensor, lengths: Tensor) -> Tensor:
        sequences = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(layers.cells(sequences)[0], batch_first=True)
        return torch.as_tensor(layers.head(states.sum(1) / lengths.unsqueeze(1)))

    def layers() -> dict[str, nn.Module]:
        return {"cells": kind(WIDTH, 24, batch_first=True), "head": nn.Linear(24, 10)}

    return _task(forward, layers, Sequences(), collate=_padded)


def length_multiple() -> Task:
    def collate(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        steps, _, targets = _padded(samples)
        return F.pad(steps, (0, 0, 0, -steps.shape[1] % 64)), targets

    def forward(layers: Any, steps: Tensor) -> Tensor:
        return torch.as_tensor(layers.head(layers.first(steps).relu().mean(1)))

    def layers() -> dict[str, nn.Module]:
        return {"first": nn.Linear(WIDTH, 64), "head": nn.Linear(64, 10)}

    return _task(forward, layers, Sequences(), collate=collate)


def embedding(optimizer: Callable[..., Any]) -> Task:
    def forward(layers: Any, words: Tensor) -> Tensor:
        return torch.as_tensor(layers.table(words).mean(1))

    train = (_words(7, 5000), torch.arange(NUM_SAMPLES) % 10)
    return _task(forward, lambda: {"table": nn.Embedding(5000, 10, sparse=True)}, train, optimizer=optimizer)


def _sgd(params: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr)


def _sparse_adam(params: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SparseAdam(list(params), lr=lr)


def on_layers(forward: Callable[..., Tensor]) -> Task:
    def layers() -> dict[str, nn.Module]:
        return {"first": nn.Linear(WIDTH, 64), "head": nn.Linear(64, 10)}

    return _task(forward, layers, _numbers(WIDTH))


def chosen_rows(layers: Any, inputs: Tensor) -> Tensor:
    outputs = layers.head(layers.first(inputs).relu())
    return torch.as_tensor(outputs + outputs[inputs[:, 0] > 0].logsumexp(1).mean())


def masked_words() -> Task:
    words = _words(20, 50)
    targets = words.masked_fill(torch.rand(words.shape, generator=_generator()) > 0.15, -100)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[targets != -100], targets[targets != -100])

    def forward(layers: Any, inputs: Tensor) -> Tensor:
        return torch.as_tensor(layers.head(layers.table(inputs)))

    return _task(
        forward, lambda: {"table": nn.Embedding(50, 32), "head": nn.Linear(32, 200)}, (words, targets), loss=loss
    )


def trimmed() -> Task:
    def forward(layers: Any, steps: Tensor, lengths: Tensor) -> Tensor:
        return torch.as_tensor(layers.head(layers.first(steps[:, : int(lengths.max())]).relu().mean(1)))

    def layers() -> dict[str, nn.Module]:
        return {"first": nn.Linear(WIDTH, 64), "head": nn.Linear(64, 10)}

    steps, targets = _numbers(40, WIDTH)
    lengths = torch.randint(20, 30, (NUM_SAMPLES,), generator=_generator())
    return _task(forward, layers, (steps, lengths, targets))


def experts(layers: Any, inputs: Tensor) -> Tensor:
    choice = layers.head(layers.first(inputs)).argmax(1)
    outputs = layers.head(layers.first(inputs))
    for number in range(4):
        rows = (choice % 4 == number).nonzero(as_tuple=True)[0]
        outputs = outputs.index_add(0, rows, layers.head(layers.first(inputs[rows]).relu()))
    return torch.as_tensor(outputs)


def unique_words() -> Task:
    def forward(layers: Any, words: Tensor) -> Tensor:
        different, places = torch.unique(words, return_inverse=True)
        return torch.as_tensor(layers.head(layers.table(different))[places].mean(1))

    train = (_words(20, 50), torch.arange(NUM_SAMPLES) % 10)
    return _task(forward, lambda: {"table": nn.Embedding(50, 32), "head": nn.Linear(32, 10)}, train)


def pairs(loss: Callable[[Tensor, Tensor], Tensor]) -> Task:
    return Task(model=_mlp, train=_numbers(WIDTH), loss=loss)


def contrastive(outputs: Tensor, targets: Tensor) -> Tensor:
    rows = F.normalize(outputs)
    return F.cross_entropy(rows @ rows.T, torch.arange(len(rows)))


def triplets(outputs: Tensor, targets: Tensor) -> Tensor:
    distances = torch.cdist(outputs, outputs)
    return (distances[:, :, None] - distances[:, None, :] + 1).relu().mean()


def batch_multiple(layers: Any, inputs: Tensor, *, multiple: int) -> Tensor:
    padded = F.pad(inputs, (0, 0, 0, -len(inputs) % multiple))
    return torch.as_tensor(layers.head(layers.first(padded).relu())[: len(inputs)])


def in_chunks(layers: Any, inputs: Tensor) -> Tensor:
    return torch.cat([layers.head(layers.first(chunk).relu()) for chunk in torch.split(inputs, 8)])


def one_by_one(layers: Any, inputs: Tensor) -> Tensor:
    return torch.stack([layers.head(layers.first(sample).relu()) for sample in inputs])


def switch(layers: Any, inputs: Tensor) -> Tensor:
    first = layers.first(inputs)
    return torch.as_tensor(layers.head(torch.cat([first] * 5, 1)[:, :64] if len(inputs) >= 32 else first))


def in_time_order() -> Task:
    return Task(
        model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(24 * 2, 1)),
        train=(torch.randn(NUM_SAMPLES, 24, 2, generator=_generator()), torch.randn(NUM_SAMPLES, 1)),
        loss="mse",
        time_steps=NUM_SAMPLES + 24,
    )


KINDS = (
    Kind("LSTM", partial(recurrent, nn.LSTM)),
    Kind("LSTM, 2 layers, dropout", partial(recurrent, nn.LSTM, num_layers=2, bidirectional=True, dropout=0.3)),
    Kind("LSTM without biases", partial(recurrent, nn.LSTM, bias=False)),
    Kind("LSTM with a projection", partial(recurrent, nn.LSTM, proj_size=8)),
    Kind("GRU", partial(recurrent, nn.GRU, bidirectional=True)),
    Kind("RNN", partial(recurrent, nn.RNN)),
    Kind("packed sequences, LSTM", partial(packed, nn.LSTM)),
    Kind("packed sequences, GRU", partial(packed, nn.GRU)),
    Kind("sparse gradients, SGD", partial(embedding, _sgd)),
    Kind("sparse gradients, SparseAdam", partial(embedding, _sparse_adam), is_bound=True),
    Kind("rows chosen by the data", partial(on_layers, chosen_rows)),
    Kind("masked words", masked_words),
    Kind("padding trimmed off", trimmed),
    Kind("different words", unique_words),
    Kind("rows chosen by the model", partial(on_layers, experts), is_bound=True),
    Kind("lazy layers", lambda: Task(model=partial(_mlp, lazy=True), train=_numbers(WIDTH))),
    Kind("all pairs, cdist", partial(pairs, lambda outputs, _: torch.cdist(outputs, outputs).mean())),
    Kind("all pairs, contrastive", partial(pairs, contrastive)),
    Kind("all pairs, pdist", partial(pairs, lambda outputs, _: F.pdist(outputs).mean())),
    Kind("all triplets", partial(pairs, triplets)),
    Kind("batch padded to a multiple of 8", partial(on_layers, partial(batch_multiple, multiple=8))),
    Kind("batch padded to a multiple of 64", partial(on_layers, partial(batch_multiple, multiple=64))),
    Kind("length padded to a multiple of 64", length_multiple),
    Kind("other work for larger batches", partial(on_layers, switch), batch_size=64),
    Kind("in chunks of 8 samples", partial(on_layers, in_chunks)),
    Kind("sample by sample", partial(on_layers, one_by_one)),
    Kind("in time order, MSE", in_time_order),
)  # fmt: skip
