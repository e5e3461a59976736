"""Task: what is trained. The user's whole contract."""

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
    """A prediction that needs no training: what a model must beat to be worth having."""

    name: str
    """As reports name it: `naive forecast (last value)`."""
    predict: Callable[..., Any]
    """As the model: called with a batch's inputs, returns outputs for them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A model, its data and how it is trained.

    A task is built from seeded generators (PyTorch's, NumPy's, `random`), so that a `random_split` without a generator is the
    same split each time. It may be used for several trainings of a process, which only read its data.

    By default a batch is a tuple whose last item is the targets: `loss(model(*batch[:-1]), batch[-1])`. `forward` replaces
    that with any callable `(model, batch) -> (loss, outputs)`, a batch being any pytree of tensors.

    Raises TaskError where a field is missing its contract.
    """

    model: Callable[[], Any]
    """A factory: called for fresh weights before every attempt, trial and range test. Returns a torch.nn.Module."""
    train: Any
    """A map-style data set, or a tuple of tensors or NumPy arrays with equal first dimension: inputs first, targets last.
    Arrays become tensors that share their memory, except that float64 becomes PyTorch's default dtype, as weights have it."""
    val: Any = None
    """As `train`. Where it is None and a validation part is needed, one is held out of `train`."""
    test: Any = None
    """As `train`. Touched once, after everything else is decided."""
    loss: str | Callable[[Any, Any], Any] = "cross_entropy"
    """A name of probe.training.losses, or a callable (outputs, targets) -> scalar tensor, a mean over the batch."""
    train_loss: str | Callable[[Any, Any], Any] | None = None
    """What training minimizes where that is another function than `loss`, like the focal loss or smoothed labels. All
    reported losses, the training part's too, stay `loss`: so they compare, whatever was minimized. Not with `forward`."""
    augment: str | Callable[[Any], Any] | None = None
    """Batch -> batch, called on every training batch, on the device, before it is split into micro-batches; never when a part
    is evaluated. Or names like `shift+cutout` of probe.tasks.augment, for images. What it draws from PyTorch's generators is
    drawn alike by a training that goes on from a checkpoint."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Name -> metric, one of:

    - a name of probe.training.metrics: a mean over all values. Targets of -100 do not count in `accuracy` and `error_rate`;
    - a callable (outputs, targets) -> number, called once on the whole part, on the CPU. Outputs and targets are joined along
      their first dimension, the samples. Where they differ in other dimensions between batches (padded or ragged outputs),
      they are lists with one entry for each sample;
    - an object with `update(outputs, targets)`, called on every batch, and `compute() -> number`, such as a metric of
      torchmetrics. `reset()` and `to(device)` are called first where it has them. Each evaluation uses a copy of it.

    One that is NaN or infinite in an epoch has no value there; it ends no training. None of them is named `loss`, which is the
    validation loss.
    """
    forward: Forward | None = None
    collate: Callable[[list[Any]], Any] | None = None
    """List of samples -> batch, for samples of different length. Batch attempts then use the largest samples."""
    optimizer: str | Callable[..., Any] = "adamw"
    """An optimizer name, or a callable (params, lr=...) -> torch.optim.Optimizer that uses `lr`. It gets
    `momentum` and `weight_decay` as well where they are set and its signature takes them."""
    batch_size: int = 64
    num_workers: int = 0
    """Processes that load samples. Not used for tensors, which are indexed."""
    cache: bool = False
    """Read every sample of a map-style data set once in each process and keep it in memory, instead of reading it in every
    epoch. Samples must not be random: augmentation in the data set would be frozen (that of `augment` is not). They are kept
    as tensors and must have one shape; with `collate`, they are kept as they are."""
    stratify: bool = True
    """Keep class proportions when a validation part is held out (integer targets only)."""
    time_steps: int | None = None
    """Where training samples stand in time order: the number of time steps that they come from, as many as samples or, where
    a sample is a window of several steps, more. What is held out is then the end, sized as a share of the steps: windows of
    any length are validated on the same targets. None: samples are exchangeable, and parts are drawn."""
    baseline: Baseline | None = None
    """Scored on the test part beside the final fit."""
    name: str = "task"

    def __post_init__(self) -> None:
        _check_callable(self, "model")
        for part in ("train", "val", "test"):
            object.__setattr__(self, part, _arrays_to_tensors(getattr(self, part), part))
            _check_data(self, part)
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
                "Task.train_loss cannot be combined with Task.forward, which works out the loss itself.",
                hint="Return another loss from forward where model.training is true.",
            )
        _check_metrics(self.metrics)
        if not isinstance(self.cache, bool):
            raise TaskError(f"Task.cache must be True or False, not {self.cache!r}.")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise TaskError(f"Task.batch_size must be a whole number of at least 1, not {self.batch_size!r}.")
        if self.time_steps is not None and self.time_steps < _num_samples(self.train):
            raise TaskError(
                f"Task.time_steps is {self.time_steps}, fewer than the {_num_samples(self.train)} training samples.",
                hint="Give the number of time steps that the samples come from.",
            )


def _check_callable(task: Task, name: str) -> None:
    value = getattr(task, name)
    if not callable(value):
        raise TaskError(f"Task.{name} must be callable, not {type(value).__name__}.")
    if name == "model" and not inspect.isclass(value) and hasattr(value, "parameters") and hasattr(value, "state_dict"):
        raise TaskError(
            "Task.model is a model; it must be a function that makes one.",
            hint="Write model=lambda: MyNet(...), so that every attempt starts from fresh weights.",
        )


def _check_metrics(metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise TaskError(f"Task.metrics must map names to metrics, not be a {type(metrics).__name__}.")
    if "loss" in metrics:
        raise TaskError(
            "Task.metrics must not have a metric named loss: that name is the validation loss, Task.loss.",
            hint="Give the metric another name.",
        )
    for name, metric in metrics.items():
        if inspect.isclass(metric) and has_updates(metric):
            raise TaskError(
                f"Metric '{name}' is the class {metric.__name__}; it must be an object.",
                hint=f"Write {metric.__name__}(...).",
            )
        if not (isinstance(metric, str) or callable(metric) or has_updates(metric)):
            raise TaskError(
                f"Metric '{name}' must not be an object of type {type(metric).__name__}.",
                hint="Give a name, a callable (outputs, targets) -> number, or an object with update and compute.",
            )


def has_updates(metric: Any) -> bool:
    """Whether a metric is given batch by batch: with `update` and `compute`, as those of torchmetrics."""
    return all(callable(getattr(metric, method, None)) for method in ("update", "compute"))


def _arrays_to_tensors(data: Any, part: str) -> Any:
    """`data` with tensors in place of NumPy arrays. Raises TaskError for arrays that PyTorch has no tensors for."""
    numpy = sys.modules.get("numpy")  # not imported for this: where it is not there yet, nothing is an array
    if numpy is None:
        return data
    if isinstance(data, tuple) and any(isinstance(item, numpy.ndarray) for item in data):
        return tuple(_arrays_to_tensors(item, part) for item in data)
    if not isinstance(data, numpy.ndarray):
        return data
    import torch

    if isinstance(data, numpy.ma.MaskedArray):
        raise TaskError(
            f"Task.{part} holds a masked array, whose mask a tensor cannot keep.", hint="Fill it: .filled(0)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "not writable": data are only read
            tensor = torch.from_numpy(numpy.ascontiguousarray(data).reshape(data.shape))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"Task.{part} holds a NumPy array of dtype {data.dtype}, which PyTorch has no tensors for: {error}",
            hint="Convert it to numbers first, for example .astype(numpy.float32).",
        ) from None
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _check_data(task: Task, part: str) -> None:
    data = getattr(task, part)
    if data is None:
        if part == "train":
            raise TaskError(
                "Task.train is missing.", hint="Give a map-style data set, or a tuple of tensors (inputs, targets)."
            )
        return
    import torch

    if isinstance(data, torch.Tensor) and task.forward is None and task.collate is None and task.augment is None:
        raise TaskError(
            f"Task.{part} is a single array of shape {tuple(data.shape)}, without targets.",
            hint="Give a tuple (inputs, targets), or a forward that works out the loss from the inputs alone.",
        )
    if isinstance(data, tuple):
        odd = [type(item).__name__ for item in data if hasattr(item, "shape") and not isinstance(item, torch.Tensor)]
        if odd:
            raise TaskError(
                f"Task.{part} is a tuple, so it must hold tensors or NumPy arrays, not {' and '.join(dict.fromkeys(odd))}.",
                hint="A pandas object becomes an array by .to_numpy().",
            )
        lengths = [len(tensor) if hasattr(tensor, "shape") and tensor.shape else None for tensor in data]
        if len(data) < 1 or None in lengths or len(set(lengths)) != 1:
            raise TaskError(
                f"Task.{part} is a tuple, so it must hold tensors of equal length; its lengths are {lengths}.",
                hint="The first dimension of every tensor counts the samples: (inputs, targets).",
            )
    elif not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TaskError(
            f"Task.{part} must be a map-style data set (with __len__ and __getitem__) or a tuple of tensors, "
            f"not {type(data).__name__}."
        )
    if _num_samples(data) == 0:
        raise TaskError(f"Task.{part} is empty.")


def _num_samples(data: Any) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)
