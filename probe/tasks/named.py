"""Builds the Task of a named model on a named data set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from probe.data.protocol import LoadedData
from probe.data.registry import data_keywords, load_data
from probe.data.subsets import with_fewer_samples
from probe.errors import TaskError, unknown_name
from probe.models.registry import build_model, check_images, check_kind, model_keywords, resolve_model
from probe.task import Task
from probe.tasks.augment import ImageAugmentation
from probe.tasks.losses import DEFAULT_FOCAL_GAMMA, ClassificationLoss
from probe.tasks.options import OPTION_NAMES, TaskOptions, read_options
from probe.tasks.spec import NamedSpec

LOSSES = {"classification": "cross_entropy", "regression": "mse"}
METRICS = {"classification": {"accuracy": "accuracy"}, "regression": {"rmse": "rmse", "mae": "mae"}}


def named_task(source: NamedSpec, params: Mapping[str, Any]) -> Task:
    """Build a task: classification with cross-entropy and accuracy, or regression with squared error, RMSE and MAE.

    The test split is that of the data set, and so is the validation split if it has one. Otherwise one is held out of the
    training split later: at its end if samples are in time order.

    Args:
        source: model and data set.
        params: hyperparameters of the model and of the data set, and the options of `TaskOptions`.

    Raises:
        TaskError: unknown model, data set or hyperparameter, or data that the model cannot take.
        DataError: the files of the data set cannot be downloaded or read.
    """
    resolve_model(source.model)
    of_data, of_model = data_keywords(source.data), model_keywords(source.model)
    _check_hyperparameters(source, params, (*of_model, *of_data, *OPTION_NAMES))
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
        if name not in known:
            message, hint = unknown_name(f"hyperparameter of {source.title}:", name, known or ("(none)",))
            raise TaskError(message, hint=hint)
