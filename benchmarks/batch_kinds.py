"""Small tasks with typical forms of data and models, for the benchmark of batch sizes. Each function makes one kind."""

from __future__ import annotations

import random
from collections import UserDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split

from probe.task import Task

KINDS: dict[str, Callable[[], Task]] = {}
"""Name of a kind -> function that makes the task."""
NUM_SAMPLES = 600


def kind(make: Callable[[], Task]) -> Callable[[], Task]:
    KINDS[make.__name__.replace("_", " ")] = make
    return make


# --- data -----------------------------------------------------------------------------------------------------------


class Made(Dataset[Any]):
    """A map-style data set whose sample `index` is `make(index)`."""

    def __init__(self, make: Callable[[int], Any], num_samples: int = NUM_SAMPLES) -> None:
        self.make = make
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.num_samples:
            raise IndexError(index)
        return self.make(index)


def images(num_samples: int = NUM_SAMPLES, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_samples, 3, size, size, generator=generator), torch.arange(num_samples) % 10


def image(index: int, size: int = 16) -> Tensor:
    return torch.full((3, size, size), float(index % 7))


def lengths(shape: str, num_samples: int = 1000) -> np.ndarray[Any, Any]:
    """Return numbers of tokens: uniform from 5 to 200 and sorted, or short with a few long ones."""
    drawn = np.random.default_rng(0).integers(5, 200, num_samples)
    if shape == "sorted":
        return np.sort(drawn)
    if shape == "late":  # the long samples are last
        return np.where(np.arange(num_samples) < num_samples - num_samples // 50, 10, 200)
    if shape == "rare":  # one in 250 is twenty times as long
        return np.where(np.arange(num_samples) % 250 == 130, 200, 10)
    return np.asarray(drawn)


def ids(index: int, length: int) -> np.ndarray[Any, Any]:
    return (np.arange(length) * 7 + index) % 500


def pad(samples: Sequence[tuple[Any, int]]) -> tuple[Tensor, Tensor]:
    rows = [torch.as_tensor(np.asarray(row)) for row, _ in samples]
    return pad_sequence(rows, batch_first=True), torch.tensor([target for _, target in samples])


def tokens(shape: str, form: Callable[[np.ndarray[Any, Any]], Any], num_samples: int = 1000) -> Made:
    sizes = lengths(shape, num_samples)
    return Made(lambda index: (form(ids(index, int(sizes[index]))), index % 2), num_samples)


# --- models ---------------------------------------------------------------------------------------------------------


def mlp(num_inputs: int = 768, num_outputs: int = 10, width: int = 64) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, width), nn.ReLU(), nn.Linear(width, num_outputs))


def convnet(num_outputs: int = 10, width: int = 8, normalized: bool = False) -> nn.Module:
    norm = nn.BatchNorm2d(width) if normalized else nn.Identity()
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_outputs)]
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), norm, nn.ReLU(), *pooled)


class Text(nn.Module):
    """Embeds tokens, applies a small network or attention, and averages."""

    def __init__(self, width: int = 16, attends: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, width)
        self.body: nn.Module = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        if attends:
            self.body = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.body(self.embedding(inputs)).mean(1)))


def text_task(data: Any, collate: Callable[[Any], Any] = pad, **options: Any) -> Task:
    return Task(**{"model": Text, "train": data, "collate": collate} | options)


# --- samples of one shape -------------------------------------------------------------------------------------------


@kind
def a_tuple_of_tensors() -> Task:
    return Task(model=mlp, train=images())


@kind
def a_tensor_data_set() -> Task:
    return Task(model=lambda: convnet(normalized=True), train=TensorDataset(*images()), optimizer="adam")


@kind
def numpy_arrays() -> Task:
    inputs, targets = images()
    return Task(model=mlp, train=(inputs.numpy(), targets.numpy()))


@kind
def own_data_set() -> Task:
    return Task(model=mlp, train=Made(lambda index: (image(index), index % 10)))


@kind
def random_split_of_own() -> Task:
    whole = Made(lambda index: (image(index), index % 10))
    train, val = random_split(whole, [450, 150], torch.Generator().manual_seed(0))
    return Task(model=mlp, train=train, val=val)


@kind
def subset_of_subset() -> Task:
    whole = Subset(Made(lambda index: (image(index), index % 10)), range(0, 600, 2))
    return Task(model=mlp, train=Subset(whole, range(200)))


@kind
def concatenated() -> Task:
    half = Made(lambda index: (image(index), index % 10), 300)
    return Task(model=mlp, train=ConcatDataset([half, half]))


@kind
def samples_of_numpy() -> Task:
    return Task(model=mlp, train=Made(lambda index: (np.full((3, 16, 16), index % 7, dtype=np.float32), index % 10)))


@kind
def random_augmentation() -> Task:
    return Task(model=mlp, train=Made(lambda index: (image(index) + torch.rand(1), index % 10)))


@kind
def dictionaries() -> Task:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        outputs = model(batch["pixels"])
        return functional.cross_entropy(outputs, batch["label"]), outputs

    return Task(model=mlp, train=Made(lambda index: {"pixels": image(index), "label": index % 10}), forward=forward)


@kind
def single_tensors() -> Task:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        outputs = model(batch)
        return (outputs - batch.flatten(1)).square().mean(), outputs

    return Task(model=lambda: mlp(num_outputs=768), train=Made(image), forward=forward)


@kind
def a_batch_of_two_inputs() -> Task:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = mlp(), mlp()

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return torch.as_tensor(self.left(left) + self.right(right))

    inputs, targets = images()
    return Task(model=Two, train=(inputs, inputs.flip(0), targets))


@kind
def few_samples() -> Task:
    return Task(model=convnet, train=images(10))


@kind
def one_sample_left_over() -> Task:
    return Task(model=lambda: convnet(normalized=True), train=images(65))


# --- samples of different length ------------------------------------------------------------------------------------


@kind
def token_tensors() -> Task:
    return text_task(tokens("sorted", torch.from_numpy))


@kind
def token_lists() -> Task:
    return text_task(tokens("sorted", lambda row: row.tolist()))


@kind
def token_arrays() -> Task:
    return text_task(tokens("mixed", lambda row: row))


@kind
def list_of_tuples() -> Task:
    data = tokens("sorted", lambda row: row.tolist())
    return text_task([data[index] for index in range(len(data))])


@kind
def dictionaries_of_lists() -> Task:
    sizes = lengths("sorted")

    def collate(samples: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        return pad([(sample["input_ids"], sample["label"]) for sample in samples])

    data = Made(lambda index: {"input_ids": ids(index, int(sizes[index])).tolist(), "label": index % 2}, len(sizes))
    return text_task(data, collate)


@kind
def strings() -> Task:
    def collate(samples: Sequence[tuple[str, int]]) -> tuple[Tensor, Tensor]:
        return pad([([int(word) for word in text.split()], target) for text, target in samples])

    return text_task(tokens("sorted", lambda row: " ".join(map(str, row))), collate)


@kind
def long_ones_last() -> Task:
    return text_task(tokens("late", torch.from_numpy, 12_000), batch_size=256)


@kind
def long_ones_are_rare() -> Task:
    return text_task(tokens("rare", lambda row: row.tolist()))


@kind
def padded_to_a_multiple() -> Task:
    def collate(samples: Sequence[tuple[Any, int]]) -> tuple[Tensor, Tensor]:
        rows, targets = pad(samples)
        return functional.pad(rows, (0, -rows.shape[1] % 64)), targets

    return text_task(tokens("mixed", torch.from_numpy), collate)


@kind
def attention_over_lengths() -> Task:
    return text_task(tokens("mixed", torch.from_numpy, 400), model=lambda: Text(8, attends=True))


@kind
def sparse_gradients() -> Task:
    def model() -> nn.Module:
        made = Text()
        made.embedding = nn.Embedding(500, 16, sparse=True)
        return made

    return text_task(tokens("mixed", torch.from_numpy), model=model, optimizer="sgd")


def padded_rows() -> Made:
    sizes = lengths("mixed")

    def make(index: int) -> tuple[Tensor, int, int]:
        length = int(sizes[index])
        row = torch.zeros(200, dtype=torch.int64)
        row[:length] = torch.from_numpy(ids(index, length))
        return row, length, index % 2

    return Made(make, len(sizes))


class Packed(nn.Module):
    """Runs a recurrent layer on packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(500, 16)
        self.rnn = nn.LSTM(16, 24, batch_first=True)
        self.head = nn.Linear(24, 2)

    def forward(self, inputs: Tensor, sizes: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(inputs), sizes.cpu(), batch_first=True, enforce_sorted=False)
        return torch.as_tensor(self.head(self.rnn(packed)[1][0][-1]))


@kind
def packed_sequences() -> Task:
    return Task(model=Packed, train=padded_rows())


class Trimmed(nn.Module):
    """Cuts padding down to the longest sequence of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Text()

    def forward(self, inputs: Tensor, sizes: Tensor) -> Tensor:
        return torch.as_tensor(self.net(inputs[:, : int(sizes.max())]))


@kind
def padding_cut_off() -> Task:
    return Task(model=Trimmed, train=padded_rows())


@kind
def images_of_many_sizes() -> Task:
    sizes = np.random.default_rng(1).integers(8, 48, NUM_SAMPLES)

    def collate(samples: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        largest = max(picture.shape[-1] for picture, _ in samples)
        padded = [functional.pad(picture, (0, largest - picture.shape[-1]) * 2) for picture, _ in samples]
        return torch.stack(padded), torch.tensor([target for _, target in samples])

    data = Made(lambda index: (image(index, int(sizes[index])), index % 10))
    return Task(model=convnet, train=data, collate=collate)


@kind
def lists_of_images() -> Task:
    """Processes images one after the other, like a detector."""
    sizes = np.random.default_rng(1).integers(8, 32, 300)

    def collate(samples: Sequence[tuple[Tensor, int]]) -> tuple[list[Tensor], list[int]]:
        return [picture for picture, _ in samples], [target for _, target in samples]

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        pictures, targets = batch
        outputs = torch.cat([model(picture[None]) for picture in pictures])
        return functional.cross_entropy(outputs, torch.tensor(targets)), outputs

    data = Made(lambda index: (image(index, int(sizes[index])), index % 10), 300)
    return Task(model=convnet, train=data, collate=collate, forward=forward)


@kind
def boxes() -> Task:
    """Takes memory for all pairs of boxes of an image."""
    counts = np.random.default_rng(2).integers(1, 60, 300)

    def collate(samples: Sequence[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Tensor, list[dict[str, Tensor]]]:
        return torch.stack([picture for picture, _ in samples]), [target for _, target in samples]

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        pictures, targets = batch
        outputs = model(pictures)
        pairs = [
            torch.cdist(target["boxes"] * row.mean(), target["boxes"])
            for row, target in zip(outputs, targets, strict=True)
        ]
        return torch.stack([pair.square().mean() for pair in pairs]).mean(), outputs

    data = Made(lambda index: (image(index, 8), {"boxes": torch.rand(int(counts[index]), 4)}), 300)
    return Task(model=convnet, train=data, collate=collate, forward=forward)


# --- batches other than tuples of tensors --------------------------------------------------------------------------


class Graph:
    """A batch of graphs that implements `to`, like those of PyTorch Geometric."""

    def __init__(self, nodes: Tensor, graph: Tensor, targets: Tensor) -> None:
        self.nodes, self.graph, self.targets = nodes, graph, targets

    def to(self, device: Any) -> Graph:
        self.nodes, self.graph, self.targets = (part.to(device) for part in (self.nodes, self.graph, self.targets))
        return self


@kind
def graphs() -> Task:
    counts = np.random.default_rng(3).integers(5, 80, 400)

    def collate(samples: Sequence[tuple[Tensor, int]]) -> Graph:
        graph = torch.cat([torch.full((len(nodes),), number) for number, (nodes, _) in enumerate(samples)])
        return Graph(torch.cat([nodes for nodes, _ in samples]), graph, torch.tensor([target for _, target in samples]))

    def forward(model: nn.Module, batch: Graph) -> tuple[Tensor, Tensor]:
        hidden = model(batch.nodes)
        outputs = hidden.new_zeros(len(batch.targets), 2).index_add(0, batch.graph, hidden)
        return functional.cross_entropy(outputs, batch.targets), outputs

    data = Made(lambda index: (torch.ones(int(counts[index]), 16), index % 2), 400)
    return Task(model=lambda: mlp(16, 2), train=data, collate=collate, forward=forward)


class Encoding(UserDict[str, Any]):
    """A mapping like those returned by tokenizers of transformers."""

    def to(self, device: Any) -> Encoding:
        return Encoding({name: tensor.to(device) for name, tensor in self.data.items()})


def forward_encoding(model: nn.Module, batch: Encoding) -> tuple[Tensor, Tensor]:
    outputs = model(batch["input_ids"])
    return functional.cross_entropy(outputs, batch["labels"]), outputs


@kind
def encodings() -> Task:
    def collate(samples: Sequence[tuple[Any, int]]) -> Encoding:
        rows, targets = pad(samples)
        return Encoding(input_ids=rows, labels=targets)

    return text_task(tokens("mixed", lambda row: row.tolist()), collate, forward=forward_encoding)


@dataclass
class Pictures:
    pixels: Tensor
    targets: Tensor


@kind
def a_dataclass() -> Task:
    def collate(samples: Sequence[tuple[Tensor, int]]) -> Pictures:
        return Pictures(
            torch.stack([picture for picture, _ in samples]), torch.tensor([target for _, target in samples])
        )

    def forward(model: nn.Module, batch: Pictures) -> tuple[Tensor, Tensor]:
        outputs = model(batch.pixels)
        return functional.cross_entropy(outputs, batch.targets), outputs

    data = Made(lambda index: (image(index), index % 10))
    return Task(model=mlp, train=data, collate=collate, forward=forward)


class NamedPictures(NamedTuple):
    pixels: Tensor
    targets: Tensor


@kind
def a_named_tuple() -> Task:
    def forward(model: nn.Module, batch: NamedPictures) -> tuple[Tensor, Tensor]:
        outputs = model(batch.pixels)
        return functional.cross_entropy(outputs, batch.targets), outputs

    return Task(
        model=mlp, train=Made(lambda index: NamedPictures(image(index), torch.tensor(index % 10))), forward=forward
    )


# --- losses over the whole batch ----------------------------------------------------------------------------


@kind
def all_pairs() -> Task:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.cdist(outputs, outputs).mean() + functional.cross_entropy(outputs, targets)

    return Task(model=mlp, train=images(), loss=loss)


@kind
def contrastive() -> Task:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        unit = functional.normalize(outputs, dim=1)
        return functional.cross_entropy(unit @ unit.T, torch.arange(len(unit)))

    return Task(model=mlp, train=images(), loss=loss)


@kind
def eight_nearest() -> Task:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.cdist(outputs, outputs).topk(8, dim=1, largest=False).values.mean()

    return Task(model=mlp, train=images(), loss=loss)


@kind
def clips_of_eight() -> Task:
    class Clips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = convnet()

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.as_tensor(self.net(inputs.reshape(-1, 8, *inputs.shape[1:]).flatten(0, 1)))

    return Task(model=Clips, train=images(640))


@kind
def boolean_index() -> Task:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs[targets > 2], targets[targets > 2])

    return Task(model=mlp, train=images(), loss=loss)


# --- models ---------------------------------------------------------------------------------------------------------


@kind
def lstm() -> Task:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(48, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return torch.as_tensor(self.head(self.rnn(inputs)[0].mean(1)))

    return Task(model=Net, train=(torch.randn(300, 40, 16), torch.arange(300) % 3))


@kind
def lazy_modules() -> Task:
    def model() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.LazyLinear(10))

    return Task(model=model, train=images())


@kind
def second_derivatives() -> Task:
    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            inputs = batch[0].clone().requires_grad_()
            outputs = model(inputs)
            (slope,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        return slope.square().mean() + (outputs - batch[1]).square().mean(), outputs

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    return Task(model=model, train=(torch.randn(NUM_SAMPLES, 2), torch.randn(NUM_SAMPLES, 1)), forward=forward)


@kind
def another_image_size_each_step() -> Task:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = convnet()

        def forward(self, inputs: Tensor) -> Tensor:
            if self.training:
                inputs = functional.interpolate(inputs, size=random.choice(range(8, 33, 8)))
            return torch.as_tensor(self.net(inputs))

    return Task(model=Scales, train=images())


@kind
def augmentation_that_enlarges() -> Task:
    def augment(batch: Any) -> Any:
        return functional.interpolate(batch[0], size=32), batch[1]

    return Task(model=convnet, train=images(), augment=augment)


# --- validation -----------------------------------------------------------------------------------------------------


@kind
def larger_images_in_validation() -> Task:
    return Task(model=convnet, train=images(), val=images(200, 64), optimizer="sgd")


@kind
def longer_texts_in_validation() -> Task:
    val = Made(lambda index: (ids(index, 1000).tolist(), index % 2), 64)
    return text_task(tokens("mixed", lambda row: row.tolist()), val=val)


@kind
def a_metric_over_whole_maps() -> Task:
    """Segmentation whose outputs of the whole validation split are larger than the device."""
    train = torch.randn(64, 3, 16, 16), torch.randint(0, 20, (64, 16, 16))
    val = torch.randn(400, 3, 16, 16), torch.randint(0, 20, (400, 16, 16))
    overlap = {"overlap": lambda outputs, targets: (outputs.argmax(1) == targets).float().mean()}
    return Task(model=lambda: nn.Conv2d(3, 20, 1), train=train, val=val, metrics=overlap)


@kind
def views_in_evaluation() -> Task:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = convnet()

        def forward(self, inputs: Tensor) -> Tensor:
            if self.training:
                return torch.as_tensor(self.net(inputs))
            views = functional.interpolate(torch.cat([inputs, inputs.flip(2), inputs.flip(3)]), scale_factor=2)
            return torch.as_tensor(self.net(views)).view(3, len(inputs), -1).mean(0)

    return Task(model=Views, train=images())
