"""Task: what is trained. The user's whole contract, and how `module:callable` becomes one."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe.errors import ProbeError, TaskError, UserCodeError, unknown_name
from probe.process_state import settle

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
    is evaluated. Or names like `shift+cutout` of probe.zoo.augment, for images. What it draws from PyTorch's generators is
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
    """A name of probe.training.optimizers, or a callable (params, lr=...) -> torch.optim.Optimizer that uses `lr`. It gets
    `momentum` and `weight_decay` as well where they are set and its signature takes them."""
    batch_size: int = 64
    num_loader_workers: int = 0
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


def load_task(target: str, params: Mapping[str, object] | None = None) -> Task:
    """The Task that `module:callable` returns when called with `params` as keywords.

    Modules are looked up in the current folder first, then among the installed packages.

    Raises:
        TaskError: the target cannot be imported, does not take these keywords, or returns something else.
        UserCodeError: the user's module or callable raised; their traceback is in it.
    """
    return make_task(target, find_target(target), params or {})


def make_task(name: str, factory: Callable[..., Any], params: Mapping[str, object]) -> Task:
    """The Task that `factory` returns when called with `params`; `name` is what errors call it. Raises as `load_task`."""
    check_keywords(name, factory, params)
    try:
        task = factory(**params)
    except ProbeError:
        raise
    except SystemExit as error:
        hint = "A task function returns a probe.Task; raise an exception where it cannot."
        raise exit_error(name, error, when="where it makes the task", hint=hint) from None
    except Exception as error:
        raise user_code_error(f"{name} raised {type(error).__name__}: {error}", error) from None
    if not isinstance(task, Task):
        raise TaskError(
            f"{name} must return a probe.Task, but returned {type(task).__name__}.",
            hint="End the function with: return probe.Task(model=..., train=...)",
        )
    return task


def find_target(target: str) -> Callable[..., Any]:
    """The callable that `module:callable` names. Raises TaskError or UserCodeError as `load_task`."""
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise TaskError(
            f"'{target}' does not name a task.",
            hint="Write module:callable, like mytask:task for the function task in mytask.py.",
        )
    module = _import(target, module_name)
    if not hasattr(module, attribute):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        message, hint = unknown_name(f"callable of module {module_name}:", attribute, names or ["(none)"])
        raise TaskError(message, hint=hint)
    factory = getattr(module, attribute)
    if not callable(factory):
        raise TaskError(f"{target} is a {type(factory).__name__}, not a function that returns a probe.Task.")
    return factory  # type: ignore[no-any-return]  # an attribute of a module found at run time is Any


def check_keywords(target: str, factory: Callable[..., Any], params: Mapping[str, object]) -> None:
    """Raise TaskError for the first of `params` that `factory` does not take, and for a required one that is missing."""
    known = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    for name in params:
        if name not in known and not takes_any:
            message, hint = unknown_name(f"keyword of {target}:", name, list(known) or ["(none)"])
            raise TaskError(message, hint=hint)
    for name, parameter in known.items():
        optional = parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        if parameter.default is inspect.Parameter.empty and not optional and name not in params:
            raise TaskError(
                f"{target} needs a value for '{name}'.",
                hint=f"Give it a default in the function, or set {name} in the recipe's [space].",
            )


def user_code_error(message: str, error: BaseException, *, hint: str | None = None) -> UserCodeError:
    """An error of the user's own code, with the frames that are theirs: probe's own frames above it are left out."""
    here = str(Path(__file__).parent)
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(here) and frames.tb_next is not None:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames))
    return UserCodeError(message, traceback=text, hint=hint)


def _import(target: str, module_name: str) -> object:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    known = sys.modules.get(module_name)
    if known is not None:
        return known
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == module_name or module_name.startswith(f"{error.name}.")):
            raise TaskError(
                f"There is no module '{module_name}' for the task {target}.",
                hint=f"Looked for {module_name.replace('.', '/')}.py in {folder} and among the installed packages.",
            ) from None
        raise user_code_error(f"{module_name} could not be imported: {error}", error) from None
    except SystemExit as error:
        raise exit_error(f"The module {module_name}", error, when="when it is imported", hint=_MAIN_HINT) from None
    except Exception as error:
        raise user_code_error(f"{module_name} could not be imported: {type(error).__name__}: {error}", error) from None
    settle(imported=True)
    return module


_MAIN_HINT = 'probe imports the module: put what runs it as a program under `if __name__ == "__main__":`.'


def exit_error(subject: str, error: SystemExit, *, when: str, hint: str) -> UserCodeError:
    """For code that ends the process: by sys.exit, or by argparse, which finds no arguments of its own."""
    frames = traceback.extract_tb(error.__traceback__)
    parses = any(Path(frame.filename).name == "argparse.py" for frame in frames)
    does = "parses the command line" if parses else f"calls sys.exit({'' if error.code is None else repr(error.code)})"
    return user_code_error(f"{subject} {does} {when}.", error, hint=hint)


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
