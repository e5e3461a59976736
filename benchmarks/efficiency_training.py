"""What the searches of `search_efficiency.py` train, and a store of every epoch that was ever trained for them.

A training's seed follows from its configuration, so that every method that tries a configuration gets the same result for it,
and a benchmark that is run again trains only what is new. Nobody gets an epoch for free: what is counted is asked epochs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from ledger_executor import BudgetSpentError

from probe.data.registry import load_data
from probe.device.cpu import CpuDevice
from probe.models.registry import build_model
from probe.records_json import from_plain, to_plain
from probe.search.records.search import ParamValue
from probe.seeds import derive_seed
from probe.task import Task
from probe.training.building import build_task
from probe.training.checkpoint import load_checkpoint, save_checkpoint
from probe.training.records import EpochReport
from probe.training.run import TrainingRun
from probe.training.settings import TrainerSettings

EPOCHS_IN_ALL = 60
EPOCHS_A_TRIAL = 9
RUNGS_FROM, FACTOR = 1, 3
MOMENTUM = 0.9
"""Of SGD, in every method's trials."""
SPLIT_SEED = 2024

Params = Mapping[str, ParamValue]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Which images, and how many of them: the same for every method and seed."""

    data: str
    data_dir: Path
    side: int
    num_train: int
    num_val: int

    @property
    def title(self) -> str:
        size = f"{self.side} x {self.side} pixels"
        return f"{self.data}, {self.num_train:,} images of {size} to train on, {self.num_val:,} to compare"


def find_images(side: int | None = None) -> Images:
    """MNIST where $PROBE_DATA holds it, else scikit-learn's digits. `side`: pixels that MNIST is scaled down to."""
    folder = Path(os.environ.get("PROBE_DATA", "data"))
    if (folder / "MNIST" / "raw").is_dir():
        return Images(data="mnist", data_dir=folder, side=side or 14, num_train=4000, num_val=2000)
    return Images(data="digits", data_dir=folder, side=8, num_train=900, num_val=500)


@dataclass(frozen=True, kw_only=True)
class DigitsSource:
    """A TaskSource: the zoo's `cnn` on those images."""

    images: Images
    seed: int = 0

    @property
    def title(self) -> str:
        return f"cnn on {self.images.title}"

    def keywords(self) -> tuple[str, ...] | None:
        return ("layers", "width", "dropout", "activation")

    def build(self, params: Mapping[str, Any]) -> Task:
        train, val = _parts(self.images)
        side = self.images.side

        def model() -> Any:
            return build_model("cnn", num_outputs=10, input_shape=(1, side, side), params=dict(params))

        return Task(
            model=model,
            train=train,
            val=val,
            loss="cross_entropy",
            metrics={"accuracy": "accuracy"},
            name=self.title,
        )


@lru_cache(maxsize=2)
def _parts(images: Images) -> tuple[Any, Any]:
    loaded = load_data(images.data, data_dir=images.data_dir, image_size=images.side)
    inputs, classes = loaded.train  # type: ignore[misc]  # small images come as a pair of tensors
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(SPLIT_SEED))
    inputs, classes = inputs[order], classes[order]
    train, val = slice(0, images.num_train), slice(images.num_train, images.num_train + images.num_val)
    return (inputs[train], classes[train]), (inputs[val], classes[val])


@dataclass(kw_only=True)
class Ledger:
    """Trains for one search and writes down what each epoch gave, in the order in which they were asked for."""

    images: Images
    store: Path
    limit: int = EPOCHS_IN_ALL
    accuracies: list[float] = field(default_factory=list)
    """After each epoch of the whole search; 0 where the training broke."""
    _held: tuple[str, TrainingRun] | None = None

    def epoch(self, params: Params, number: int) -> EpochReport | None:
        """Epoch `number` (from 1) of this configuration; None: the training broke in it.

        Raises BudgetSpentError instead of an epoch more than the limit.
        """
        if len(self.accuracies) >= self.limit:
            raise BudgetSpentError
        report = self._trained(dict(params), number)
        self.accuracies.append(0.0 if report is None else report.metrics["accuracy"])
        return report

    def _trained(self, params: dict[str, ParamValue], number: int) -> EpochReport | None:
        key = configuration_hash(self.images, params)
        path = self.store / key[:2] / f"{key}.json"
        known = _read(path)
        while len(known) < number and None not in known:
            run = self._run(params, key, len(known))
            known.append(run.run_epoch())
            path.parent.mkdir(parents=True, exist_ok=True)
            save_checkpoint(path.with_suffix(".pt"), run.state())
            _write(path, params, known)
        return known[number - 1] if number <= len(known) else None

    def _run(self, params: dict[str, ParamValue], key: str, epochs: int) -> TrainingRun:
        if self._held is not None and self._held[0] == key and self._held[1].epoch == epochs:
            return self._held[1]
        momentum = {"momentum": MOMENTUM} if params["optimizer"] == "sgd" else {}
        task = build_task(DigitsSource(images=self.images), params)
        settings = TrainerSettings.for_task(task, {**params, **momentum, "epochs": EPOCHS_A_TRIAL})
        run = TrainingRun(task, settings, device=CpuDevice(), seed=derive_seed(0, key))
        if epochs:
            run.restore(load_checkpoint(self.store / key[:2] / f"{key}.pt"))
        if run.epoch != epochs:  # another process came further meanwhile
            run = TrainingRun(task, settings, device=CpuDevice(), seed=derive_seed(0, key))
            while run.epoch < epochs:
                run.train_epoch()
        self._held = (key, run)
        return run


def configuration_hash(images: Images, params: Params) -> str:
    """Equal for equal trainings."""
    described = [images.data, images.side, images.num_train, images.num_val, sorted(params.items())]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:24]


def _read(path: Path) -> list[EpochReport | None]:
    if not path.exists():
        return []
    reports = json.loads(path.read_text())["reports"]
    return [None if report is None else from_plain(EpochReport, report) for report in reports]


def _write(path: Path, params: Params, reports: Sequence[EpochReport | None]) -> None:
    content = {
        "params": dict(params),
        "reports": [None if report is None else to_plain(report) for report in reports],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def remembered(path: Path, compute: Callable[[], Any]) -> Any:
    """The JSON in `path`, or what `compute` returns, written there."""
    if path.exists():
        return json.loads(path.read_text())
    value = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)
    return value
