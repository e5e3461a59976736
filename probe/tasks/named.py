"""Builds the Task of a named model on a named data set, or on some of its training samples."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from probe.data.images import ResizedImages
from probe.data.protocol import LoadedData
from probe.data.registry import data_source, load_data
from probe.errors import DataError, TaskError, check_known
from probe.models.registry import build_model, check_images, check_kind, model_rules, resolve_model
from probe.splits import subset_indices
from probe.task import Task
from probe.tasks.augment import ImageAugmentation
from probe.tasks.losses import DEFAULT_FOCAL_GAMMA, ClassificationLoss
from probe.tasks.options import OPTIONS, NamedSpec, TaskOptions, read_options

LOSSES = {"classification": "cross_entropy", "regression": "mse"}
METRICS = {"classification": {"accuracy": "accuracy"}, "regression": {"rmse": "rmse", "mae": "mae"}}


def named_task(source: NamedSpec, params: Mapping[str, Any]) -> Task:
    """Build a task: classification with cross-entropy and accuracy, or regression with squared error, RMSE and MAE. Splits are
    those of the data set; a missing validation split is held out of the training split later. `params` are hyperparameters of
    the model and of the data set, and the options of `TaskOptions`. Raises TaskError and DataError."""
    resolve_model(source.model)
    of_data, of_model = data_source(source.data).hyperparameters, model_rules(source.model)
    _check_hyperparameters(source, params, (*of_model, *of_data, *OPTIONS))
    data = load_data(
        source.data,
        data_dir=source.data_dir,
        image_size=source.image_size,
        params={name: value for name, value in params.items() if name in of_data},
        options=source.data_options,
        val_fraction=source.val_fraction,
    )
    if source.num_train is not None:
        data = with_fewer_samples(data, source.num_train, seed=source.subset_seed, name=source.data)
    check_kind(source.model, data.kind)
    check_images(source.model, data.input_shape)
    options = read_options(params, task_type=data.task_type, is_images=data.kind == "images")
    model = _model_factory(source, data, {name: value for name, value in params.items() if name in of_model})
    if source.weights is not None:
        model()  # raise errors in the file of weights now
    return Task(
        model=model,
        train=data.train,
        val=data.val,
        test=data.test,
        loss=LOSSES[data.task_type],
        train_loss=_train_loss(options, LOSSES[data.task_type]),
        augment=_augment(options),
        metrics=METRICS[data.task_type] if data.metrics is None else data.metrics,
        stratify=data.task_type == "classification" and source.data != "synthetic",
        time_steps=data.time_steps,
        baseline=data.baseline,
        name=source.title,
    )


def _model_factory(source: NamedSpec, data: LoadedData, params: Mapping[str, Any]) -> partial[Any]:
    """A function that builds the model. It holds no data, because it is pickled."""
    return partial(
        build_model,
        source.model,
        num_outputs=data.num_outputs,
        input_shape=data.input_shape,
        vocabulary_size=data.vocabulary_size,
        pixels=data.pixels,
        weights=source.weights,
        params=dict(params),
    )


def _train_loss(options: TaskOptions, reported: str) -> str | ClassificationLoss | None:
    """The loss that training minimizes, or None if it is the reported one."""
    gamma = 0.0
    if options.loss == "focal":
        gamma = DEFAULT_FOCAL_GAMMA if options.focal_gamma is None else options.focal_gamma
    smoothing = options.label_smoothing or 0.0
    if gamma or smoothing:
        return ClassificationLoss(gamma=gamma, label_smoothing=smoothing)
    return None if options.loss in (None, "focal", reported) else options.loss


def _augment(options: TaskOptions) -> ImageAugmentation | None:
    if options.augmentation is None or not options.augments:
        return None
    strength = 1.0 if options.augmentation_strength is None else options.augmentation_strength
    return ImageAugmentation(name=options.augmentation, strength=strength)


def _check_hyperparameters(source: NamedSpec, params: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in params:
        check_known(TaskError, f"hyperparameter of {source.title}:", name, known)


_made: dict[tuple[int, int, int], tuple[weakref.ref[Any], Any]] = {}
"""(id of the whole split's targets, count, seed) -> those targets and the smaller split, so that the trials of a process share
one copy of it."""


def with_fewer_samples(data: LoadedData, count: int, *, seed: int, name: str) -> LoadedData:
    """`data` with only `count` training samples: classes keep their proportions; of data in time order, the latest are used. A
    larger count includes all samples of a smaller one. Raises DataError if there are not more, or if samples are created on
    access."""
    train = data.train
    if not isinstance(train, (tuple, ResizedImages)):
        raise DataError(f"num_train cannot be used with {name}, which creates its samples on access.")
    available = len(train[0]) if isinstance(train, tuple) else len(train)
    if count >= available:
        raise DataError(
            f"num_train is {count}, but {name} has {available} training samples.",
            hint="Choose a smaller number, or remove num_train to use all of them.",
        )
    time_steps = None if data.time_steps is None else data.time_steps - (available - count)
    return replace(data, train=_smaller(data, train, count, seed), time_steps=time_steps)


def _smaller(data: LoadedData, train: Any, count: int, seed: int) -> Any:
    targets = train[-1] if isinstance(train, tuple) else train.targets
    key = (id(targets), count, seed)
    known = _made.get(key)
    if known is not None and known[0]() is targets:
        return known[1]
    if data.time_steps is not None:
        rows = torch.arange(len(targets) - count, len(targets))
    else:
        labels = targets.numpy() if data.task_type == "classification" else None
        rows = torch.from_numpy(subset_indices(len(targets), count=count, seed=seed, labels=labels))
    if isinstance(train, ResizedImages):
        smaller: Any = ResizedImages(train.images[rows], train.targets[rows], train.size)
    else:
        smaller = tuple(tensor[rows] for tensor in train)
    _made[key] = (weakref.ref(targets, lambda _: _made.pop(key, None)), smaller)
    return smaller
