"""`probe.Task`: a model, its data and how it is trained."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from probe.errors import TaskError

Forward = Callable[[Any, Any], tuple[Any, Any]]
"""(model, batch) -> (scalar loss, outputs)"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """A prediction without training, which a model should beat."""

    name: str
    """Name in reports, like `naive forecast (last value)`."""
    predict: Callable[..., Any]
    """Called like the model: with the inputs of a batch; returns outputs of the same shape as the model's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A model, its data and how it is trained.

    By default a batch is a tuple of tensors `(inputs, ..., targets)`, and the loss is `loss(model(*batch[:-1]), batch[-1])`.
    With `forward`, a batch may be any pytree of tensors.

    PyTorch's, NumPy's and Python's random generators are seeded before a function that returns a Task is called, so that a
    `random_split` without a generator gives the same split each time. A Task may be trained several times in one process;
    its data are only read.

    Example:
        A classifier of 28 x 28 images, with images of shape (N, 1, 28, 28) and class numbers of shape (N,):

            def task(width: int = 64) -> probe.Task:
                return probe.Task(
                    model=lambda: MyNet(width),
                    train=(images, classes),
                    metrics={"accuracy": "accuracy"},
                )

    Raises:
        TaskError: a field has a wrong type or value.
    """

    model: Callable[[], Any]
    """Function without arguments that returns a torch.nn.Module with fresh weights. Called before every attempt, trial and
    range test."""
    train: Any
    """Training samples: a map-style data set (with `__len__` and `__getitem__`), or a tuple of tensors or NumPy arrays of shape
    (N, ...), inputs first and targets last. Arrays become tensors that share their memory, except that float64 is converted to
    PyTorch's default dtype, that of weights."""
    val: Any = None
    """Validation samples, of the same form as `train`. If None and a validation split is needed, it is held out of `train`."""
    test: Any = None
    """Test samples, of the same form as `train`. Used once, after everything else is decided."""
    loss: str | Callable[[Any, Any], Any] = "cross_entropy"
    """Loss: a name in probe.tasks.losses, or a callable (outputs, targets) -> scalar tensor, the mean over the batch."""
    train_loss: str | Callable[[Any, Any], Any] | None = None
    """Loss that training minimizes, if it differs from `loss`, like the focal loss. All reported losses, also those of the
    training split, are `loss`, so that they are comparable. Cannot be combined with `forward`."""
    augment: str | Callable[[Any], Any] | None = None
    """Augmentation: a callable batch -> batch, or names in probe.tasks.augment for images, like `shift+cutout`. Called on the
    device with every training batch before it is split into micro-batches, and never in evaluation. A training that is resumed
    from a checkpoint draws the same random numbers from PyTorch's generators as an uninterrupted one."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Metrics by name. Each is one of:

    - a name in probe.training.metrics: a mean over all values. `accuracy` and `error_rate` ignore targets of -100.
    - a callable (outputs, targets) -> number, called once per split on the CPU. Outputs and targets of all batches are
      concatenated along the first dimension. If their other dimensions differ between batches (padded or ragged outputs), they
      are lists with one entry per sample.
    - an object with `update(outputs, targets)`, called with every batch, and `compute() -> number`, like the metrics of
      torchmetrics. Its `reset()` and `to(device)`, if it has them, are called first. Each evaluation uses a copy of it.

    A metric that is NaN or infinite in an epoch has no value there; training continues. The name `loss` is reserved for the
    validation loss.
    """
    forward: Forward | None = None
    """Callable (model, batch) -> (scalar loss, outputs) that replaces the default computation of the loss."""
    collate: Callable[[list[Any]], Any] | None = None
    """Callable list of samples -> batch, for samples of different lengths. Batch probes then measure the largest samples."""
    optimizer: str | Callable[..., Any] = "adamw"
    """Optimizer: a name, or a callable (params, lr=...) -> torch.optim.Optimizer that uses `lr`. It is also called with
    `momentum`, `weight_decay` and `fused` if they are set and its signature has them."""
    batch_size: int = 64
    """Number of samples per optimizer step, unless a probe, a search or the command line sets another."""
    num_workers: int | None = None
    """Number of processes that load samples. Not used for tensors, which are indexed. By default up to four in front of a GPU
    if reading takes at least a second per epoch and the data set can be pickled, and none otherwise. The number does not
    change random numbers that samples draw from the global generators, unless it is set to 0."""
    cache: bool = False
    """Whether to read every sample of a map-style data set only once per process and keep it in memory. Samples must not be
    random, because augmentation inside the data set would happen only once (`augment` is not affected). Samples are stacked, so
    their tensors must have one shape; with `collate`, they are kept as they are."""
    stratify: bool = True
    """Whether a held-out validation split keeps the class proportions (integer targets only)."""
    time_steps: int | None = None
    """Number of time steps that the training samples come from, if they are in time order: the number of samples, or more if a
    sample is a window of several steps. The held-out validation split is then the end, a fraction of the steps, so that windows
    of any length are validated on the same targets. If None, the order of samples has no meaning, and the validation split is
    drawn at random."""
    baseline: Baseline | None = None
    """Prediction without training that is scored on the test split next to the final training."""
    name: str = "task"
    """Name in reports."""

    def __post_init__(self) -> None:
        _check_callable(self, "model")
        for split in ("train", "val", "test"):
            object.__setattr__(self, split, _arrays_to_tensors(getattr(self, split), split))
            _check_data(self, split)
        for option in ("forward", "collate"):
            if getattr(self, option) is not None:
                _check_callable(self, option)
        for option in ("loss", "optimizer", "train_loss", "augment"):
            may_be_none = option in ("train_loss", "augment")
            given = getattr(self, option)
            if not isinstance(given, str) and not (may_be_none and given is None):
                _check_callable(self, option)
        if self.forward is not None and self.train_loss is not None:
            raise TaskError(
                "Task.train_loss cannot be combined with Task.forward, which computes the loss itself.",
                hint="Return another loss from forward if model.training is true.",
            )
        _check_metrics(self.metrics)
        if not isinstance(self.cache, bool):
            raise TaskError(f"Task.cache must be True or False, not {self.cache!r}.")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise TaskError(f"Task.batch_size must be an integer of at least 1, not {self.batch_size!r}.")
        if self.time_steps is not None and self.time_steps < _num_samples(self.train):
            raise TaskError(
                f"Task.time_steps is {self.time_steps}, fewer than the {_num_samples(self.train)} training samples.",
                hint="Set it to the number of time steps that the samples come from.",
            )


def _check_callable(task: Task, name: str) -> None:
    value = getattr(task, name)
    if not callable(value):
        raise TaskError(f"Task.{name} must be callable, not {type(value).__name__}.")
    if name == "model" and not inspect.isclass(value) and hasattr(value, "parameters") and hasattr(value, "state_dict"):
        raise TaskError(
            "Task.model is a model, but must be a function that returns one.",
            hint="Write model=lambda: MyNet(...), so that every attempt starts from fresh weights.",
        )


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise TaskError(f"Task.metrics must map names to metrics, not be a {type(metrics).__name__}.")
    if "loss" in metrics:
        raise TaskError(
            "Task.metrics has a metric named loss, but that name is reserved for the validation loss, Task.loss.",
            hint="Rename the metric.",
        )
    for name, metric in metrics.items():
        if inspect.isclass(metric) and has_updates(metric):
            raise TaskError(
                f"Metric '{name}' is the class {metric.__name__}, but must be an object.",
                hint=f"Write {metric.__name__}(...).",
            )
        if not (isinstance(metric, str) or callable(metric) or has_updates(metric)):
            raise TaskError(
                f"Metric '{name}' must not be an object of type {type(metric).__name__}.",
                hint="Use a name, a callable (outputs, targets) -> number, or an object with update and compute.",
            )


def has_updates(metric: Any) -> bool:
    """Whether a metric is updated batch by batch, with `update` and `compute`, like those of torchmetrics."""
    return all(callable(getattr(metric, method, None)) for method in ("update", "compute"))


def _arrays_to_tensors(data: Any, split: str) -> Any:
    """`data` with NumPy arrays replaced by tensors. Raises TaskError for arrays that PyTorch cannot convert."""
    numpy = sys.modules.get("numpy")  # if NumPy is not imported yet, nothing is an array
    if numpy is None:
        return data
    if isinstance(data, tuple) and any(isinstance(item, numpy.ndarray) for item in data):
        return tuple(_arrays_to_tensors(item, split) for item in data)
    if not isinstance(data, numpy.ndarray):
        return data
    import torch

    if isinstance(data, numpy.ma.MaskedArray):
        raise TaskError(
            f"Task.{split} holds a masked array, whose mask a tensor cannot keep.", hint="Fill it: .filled(0)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "not writable", but data are only read
            tensor = torch.from_numpy(numpy.ascontiguousarray(data).reshape(data.shape))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"Task.{split} holds a NumPy array of dtype {data.dtype}, which PyTorch does not support: {error}",
            hint="Convert it to numbers first, for example .astype(numpy.float32).",
        ) from None
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _check_data(task: Task, split: str) -> None:
    data = getattr(task, split)
    if data is None:
        if split == "train":
            raise TaskError(
                "Task.train is missing.", hint="Set a map-style data set, or a tuple of tensors (inputs, targets)."
            )
        return
    import torch

    if isinstance(data, torch.Tensor) and task.forward is None and task.collate is None and task.augment is None:
        raise TaskError(
            f"Task.{split} is a single array of shape {tuple(data.shape)}, without targets.",
            hint="Set a tuple (inputs, targets), or a forward that computes the loss from the inputs alone.",
        )
    if isinstance(data, tuple):
        odd = [type(item).__name__ for item in data if hasattr(item, "shape") and not isinstance(item, torch.Tensor)]
        if odd:
            raise TaskError(
                f"Task.{split} is a tuple, so it must hold tensors or NumPy arrays, not {' and '.join(dict.fromkeys(odd))}.",
                hint="Convert a pandas object with .to_numpy().",
            )
        lengths = [len(tensor) if hasattr(tensor, "shape") and tensor.shape else None for tensor in data]
        if len(data) < 1 or None in lengths or len(set(lengths)) != 1:
            raise TaskError(
                f"Task.{split} is a tuple, so its tensors must have the same length, but their lengths are {lengths}.",
                hint="The first dimension of every tensor is the number of samples.",
            )
    elif not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TaskError(
            f"Task.{split} must be a map-style data set (with __len__ and __getitem__) or a tuple of tensors, "
            f"not {type(data).__name__}."
        )
    if _num_samples(data) == 0:
        raise TaskError(f"Task.{split} is empty.")


def _num_samples(data: Any) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)
