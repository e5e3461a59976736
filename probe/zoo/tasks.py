"""A named model on a named data set -> Task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from probe.task import Task
from probe.zoo.data import load_data
from probe.zoo.models import build_model, check_hyperparameters, check_images, resolve_model
from probe.zoo.source import NamedSource


def named_task(source: NamedSource, params: Mapping[str, Any]) -> Task:
    """Classification by cross-entropy, its accuracy measured; `params` are the model's hyperparameters.

    The test part is the data set's own. There is no validation part: one is held out of the training part later.

    Raises:
        TaskError: an unknown model, data set or hyperparameter, or images that the model cannot take.
        DataError: the data set's files cannot be downloaded or read.
    """
    resolve_model(source.model)
    check_hyperparameters(source.model, params)
    data = load_data(source.data, data_dir=source.data_dir, image_size=source.image_size)
    check_images(source.model, data.input_shape)
    model = partial(
        build_model,
        source.model,
        num_classes=data.num_classes,
        input_shape=data.input_shape,
        params=dict(params),
    )
    return Task(
        model=model,
        train=data.train,
        test=data.test,
        loss="cross_entropy",
        metrics={"accuracy": "accuracy"},
        stratify=source.data != "synthetic",
        name=source.title,
    )
