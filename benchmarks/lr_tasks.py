"""Training tasks with known best learning rates, from data that needs no download: scikit-learn's bundled and generated sets.

    python benchmarks/lr_tasks.py        list the tasks and their best learning rates

The tasks are diverse: convex and deep, classification, regression, language and denoising, seven optimizers, four schedules,
lengths from 150 to 2400 steps, and data sets so small that they overfit. The oracle is brute force: whole trainings at 25
learning rates.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import probe
from probe.training.settings import TrainerSettings

Arrays = tuple[Tensor, Tensor, Tensor, Tensor]
"""(train inputs, train targets, validation inputs, validation targets)"""

LRS = [10 ** (-5 + i / 4) for i in range(25)]
"""Grid of the oracle: 1e-5 to 10, four learning rates per factor of ten."""
CONTEXT_CHARACTERS = 32
ALPHABET_SIZE = 40
PATCH_PIXELS = 12


@dataclass(frozen=True, kw_only=True)
class LrTask:
    """One training problem, without the learning rate and the seed."""

    name: str
    data: Callable[[], Arrays]
    model: Callable[[], nn.Module]
    optimizer: str
    batch_size: int
    training_steps: int
    """Planned training steps."""
    loss: str = "cross_entropy"
    expert_lr: float
    """First choice of a textbook for this optimizer."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Other settings of the trainer: momentum, lr_schedule, weight_decay, max_grad_norm, ..."""

    def task(self) -> probe.Task:
        x, y, x_val, y_val = self.data()
        return probe.Task(
            model=self.model,
            train=(x, y),
            val=(x_val, y_val),
            loss=LOSSES.get(self.loss, self.loss),
            name=self.name,
            batch_size=self.batch_size,
        )

    @property
    def params(self) -> dict[str, Any]:
        """Hyperparameters of the trainer, in the form that `find_lr` expects."""
        return {"optimizer": self.optimizer, "batch_size": self.batch_size, **self.trainer}

    @property
    def settings(self) -> TrainerSettings:
        return TrainerSettings(**self.params)

    def constant_loss(self) -> float:
        """Validation loss of the best constant prediction."""
        _, y, _, y_val = self.data()
        if y.is_floating_point():
            return float(((y_val - y.mean(0)) ** 2).mean())
        counts = torch.bincount(y.flatten(), minlength=int(max(y.max(), y_val.max())) + 1) + 1e-3
        return float(-(counts / counts.sum()).log()[y_val.flatten()].mean())

    def fingerprint(self) -> str:
        """Hash of the data, the initial weights, the settings and the length of the training."""
        torch.manual_seed(0)
        digest = hashlib.sha256(repr((self.params, self.training_steps, self.loss, LRS)).encode())
        digest.update(inspect.getsource(inspect.unwrap(self.model)).encode())
        for tensor in (*self.data(), *self.model().state_dict().values()):
            digest.update(f"{tuple(tensor.shape)} {tensor.double().sum().item():.6g}".encode())
        return digest.hexdigest()[:16]


# ---------------------------------------------------------------------------------------------- data


def split(inputs: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], *, num_train: int | None = None) -> Arrays:
    """Seven tenths (or `num_train`) to train on, standardised by them; real targets too."""
    order = np.random.default_rng(5).permutation(len(inputs))
    count = num_train or int(0.7 * len(inputs))
    x = torch.tensor(inputs[order], dtype=torch.float32)
    x = (x - x[:count].mean(0)) / x[:count].std(0).clamp(min=1e-3)
    if np.issubdtype(targets.dtype, np.integer):
        y = torch.tensor(targets[order], dtype=torch.long)
    else:
        y = torch.tensor(targets[order], dtype=torch.float32).reshape(len(order), -1)
        y = (y - y[:count].mean(0)) / y[:count].std(0)
    return x[:count], y[:count], x[count:], y[count:]


@functools.cache
def digits() -> Arrays:
    """Images of 8 x 8 pixels, (N, 1, 8, 8) in [0, 1], ten classes."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(5))
    x, y = x[order], torch.tensor(labels)[order]
    return x[:1200], y[:1200], x[1200:], y[1200:]


@functools.cache
def breast_cancer() -> Arrays:
    from sklearn.datasets import load_breast_cancer

    return split(*load_breast_cancer(return_X_y=True))


@functools.cache
def hard_classes() -> Arrays:
    """Eight classes in 40 dimensions, a tenth of the labels wrong."""
    from sklearn.datasets import make_classification

    return split(
        *make_classification(
            6000, 40, n_informative=14, n_classes=8, n_clusters_per_class=3, flip_y=0.1, class_sep=1.3, random_state=3
        )
    )


@functools.cache
def few_noisy() -> Arrays:
    """150 samples of a noisy regression in 20 dimensions: overfits long before the horizon."""
    from sklearn.datasets import make_friedman1

    return split(*make_friedman1(900, 20, noise=3.0, random_state=3), num_train=150)


@functools.cache
def friedman() -> Arrays:
    from sklearn.datasets import make_friedman1

    return split(*make_friedman1(4000, 10, noise=0.5, random_state=3))


@functools.cache
def moons() -> Arrays:
    from sklearn.datasets import make_moons

    return split(*make_moons(1200, noise=0.25, random_state=3))


@functools.cache
def ill_conditioned() -> Arrays:
    """Linear regression whose features are nearly dependent."""
    from sklearn.datasets import make_regression

    return split(*make_regression(3000, 60, n_informative=40, effective_rank=25, noise=0.02, random_state=3))


@functools.cache
def patches() -> Arrays:
    """Noisy grey patches of scikit-learn's two photographs and the clean ones, (N, 1, 12, 12)."""
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(5)
    clean = []
    for image in load_sample_images().images:
        grey = image.mean(2) / 255.0 - 0.5
        for _ in range(2000):
            row, column = (int(draw.integers(0, size - PATCH_PIXELS)) for size in grey.shape)
            clean.append(grey[row : row + PATCH_PIXELS, column : column + PATCH_PIXELS])
    y = torch.tensor(np.stack(clean), dtype=torch.float32)[:, None][draw.permutation(len(clean))]
    x = y + 0.15 * torch.tensor(draw.standard_normal(y.shape), dtype=torch.float32)
    return x[:3200], y[:3200], x[3200:], y[3200:]


@functools.cache
def descriptions() -> Arrays:
    """The text of scikit-learn's data set descriptions in blocks of 32 characters, and the same a character further."""
    from collections import Counter

    from sklearn import datasets

    names = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")
    text = "\n".join(getattr(datasets, f"load_{name}")().DESCR.lower() for name in names)
    known = {c: i + 1 for i, (c, _) in enumerate(sorted(Counter(text).most_common(ALPHABET_SIZE - 1)))}
    codes = torch.tensor([known.get(c, 0) for c in text])
    starts = torch.arange(0, len(codes) - CONTEXT_CHARACTERS - 1, CONTEXT_CHARACTERS // 2)
    starts = starts[torch.randperm(len(starts), generator=torch.Generator().manual_seed(5))]
    span = torch.arange(CONTEXT_CHARACTERS)
    x, y = codes[starts[:, None] + span], codes[starts[:, None] + span + 1]
    count = int(0.8 * len(x))
    return x[:count], y[:count], x[count:], y[count:]


# -------------------------------------------------------------------------------------------- models


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU, dropout: float = 0.0) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for width_in, width_out in pairwise(widths[:-1]):
        layers += [nn.Linear(width_in, width_out), activation(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def batchnorm_cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(96, 10)),
    )


def denoiser() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()),
        nn.Conv2d(12, 1, 3, padding=1),
    )


class Reader(nn.Module):
    """Characters (N, T) -> scores (N, alphabet, T), by a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ALPHABET_SIZE, 24)
        self.gru = nn.GRU(24, 48, batch_first=True)
        self.head = nn.Linear(48, ALPHABET_SIZE)

    def forward(self, characters: Tensor) -> Tensor:
        scores: Tensor = self.head(self.gru(self.embedding(characters))[0])
        return scores.transpose(1, 2)


class Attender(nn.Module):
    """Characters (N, T) -> scores (N, alphabet, T), by a causal transformer of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ALPHABET_SIZE, 32)
        self.positions = nn.Parameter(0.02 * torch.randn(CONTEXT_CHARACTERS, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 96, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, ALPHABET_SIZE)
        self.register_buffer("mask", torch.full((CONTEXT_CHARACTERS,) * 2, -math.inf).triu(1))

    def forward(self, characters: Tensor) -> Tensor:
        hidden = self.layers(self.embedding(characters) + self.positions, mask=self.mask)
        scores: Tensor = self.head(hidden)
        return scores.transpose(1, 2)


def huber(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.huber_loss(outputs, targets, delta=0.5)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"huber": huber}

# --------------------------------------------------------------------------------------------- tasks

TASKS = {
    task.name: task
    for task in (
        LrTask(
            name="digits_mlp_adam",
            data=digits,
            model=lambda: mlp(64, 96, 10),
            optimizer="adam",
            batch_size=64,
            training_steps=300,
            expert_lr=1e-3,
        ),
        LrTask(
            name="digits_linear_sgd",
            data=digits,
            model=lambda: mlp(64, 10),
            optimizer="sgd",
            batch_size=32,
            training_steps=400,
            expert_lr=0.1,
        ),
        LrTask(
            name="digits_cnn_sgdm_cosine",
            data=digits,
            model=batchnorm_cnn,
            optimizer="sgd",
            batch_size=64,
            training_steps=400,
            expert_lr=0.01,
            trainer={"momentum": 0.9, "lr_schedule": "cosine", "weight_decay": 5e-4},
        ),
        LrTask(
            name="digits_tanh_nesterov",
            data=digits,
            model=lambda: mlp(64, 64, 64, 64, 10, activation=nn.Tanh),
            optimizer="nesterov",
            batch_size=128,
            training_steps=200,
            expert_lr=0.01,
        ),
        LrTask(
            name="cancer_mlp_rmsprop",
            data=breast_cancer,
            model=lambda: mlp(30, 64, 2),
            optimizer="rmsprop",
            batch_size=32,
            training_steps=150,
            expert_lr=1e-3,
        ),
        LrTask(
            name="classes_mlp_adamw_onecycle",
            data=hard_classes,
            model=lambda: mlp(40, 128, 128, 8, dropout=0.1),
            optimizer="adamw",
            batch_size=128,
            training_steps=800,
            expert_lr=1e-3,
            trainer={"lr_schedule": "one-cycle"},
        ),
        LrTask(
            name="classes_mlp_sgd",
            data=hard_classes,
            model=lambda: mlp(40, 128, 128, 8),
            optimizer="sgd",
            batch_size=64,
            training_steps=1500,
            expert_lr=0.1,
        ),
        LrTask(
            name="few_noisy_adam",
            data=few_noisy,
            model=lambda: mlp(20, 64, 64, 1),
            optimizer="adam",
            batch_size=32,
            training_steps=600,
            loss="mse",
            expert_lr=1e-3,
        ),
        LrTask(
            name="friedman_mlp_adam_long",
            data=friedman,
            model=lambda: mlp(10, 64, 64, 1),
            optimizer="adam",
            batch_size=64,
            training_steps=2400,
            loss="mse",
            expert_lr=1e-3,
        ),
        LrTask(
            name="friedman_mlp_adagrad",
            data=friedman,
            model=lambda: mlp(10, 64, 64, 1),
            optimizer="adagrad",
            batch_size=64,
            training_steps=600,
            loss="huber",
            expert_lr=1e-2,
        ),
        LrTask(
            name="moons_mlp_sgdm",
            data=moons,
            model=lambda: mlp(2, 32, 32, 2),
            optimizer="sgd",
            batch_size=32,
            training_steps=800,
            expert_lr=0.01,
            trainer={"momentum": 0.9},
        ),
        LrTask(
            name="linear_regression_sgd",
            data=ill_conditioned,
            model=lambda: mlp(60, 1),
            optimizer="sgd",
            batch_size=100,
            training_steps=500,
            loss="mse",
            expert_lr=0.1,
        ),
        LrTask(
            name="denoise_cnn_adam",
            data=patches,
            model=denoiser,
            optimizer="adam",
            batch_size=32,
            training_steps=500,
            loss="mse",
            expert_lr=1e-3,
        ),
        LrTask(
            name="characters_gru_rmsprop",
            data=descriptions,
            model=Reader,
            optimizer="rmsprop",
            batch_size=16,
            training_steps=400,
            expert_lr=1e-3,
        ),
        LrTask(
            name="characters_transformer_adamw_linear",
            data=descriptions,
            model=Attender,
            optimizer="adamw",
            batch_size=16,
            training_steps=400,
            expert_lr=1e-3,
            trainer={"lr_schedule": "linear", "max_grad_norm": 1.0},
        ),
        LrTask(
            name="characters_transformer_sgdm",
            data=descriptions,
            model=Attender,
            optimizer="sgd",
            batch_size=16,
            training_steps=600,
            expert_lr=0.01,
            trainer={"momentum": 0.9, "max_grad_norm": 1.0},
        ),
    )
}
