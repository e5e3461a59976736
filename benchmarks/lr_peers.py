"""Other learning-rate finders from their own packages, and rules of thumb, on the tasks of `lr_tasks.py`.

Each finder is called as in its documentation, with its defaults and with the model, data and optimizer of the task. It returns
(learning rate or None, number of training steps).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import matplotlib as mpl
import torch
from lr_tasks import LrTask
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from probe.tasks.losses import loss_function
from probe.training.optimizers import make_optimizer
from probe.training.settings import TrainerSettings

Found = tuple[float | None, int]

mpl.use("Agg")


def fastai(task: LrTask, seed: int, rule: str) -> Found:
    """`Learner.lr_find` with one of fastai's rules: 100 steps from 1e-7 to 10."""
    from fastai.callback import schedule
    from fastai.callback.training import GradientClip
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    with _quietly(), tempfile.TemporaryDirectory() as folder:
        loader = _loader(task, seed)
        max_grad_norm = task.trainer.get("max_grad_norm")
        learner = Learner(
            DataLoaders(loader, loader, device="cpu"),
            _model(task, seed),
            loss_func=_loss(task),
            opt_func=lambda params, **options: OptimWrapper(opt=_optimizer(task, params, options.get("lr", 1e-3))),
            cbs=[GradientClip(max_grad_norm)] if max_grad_norm else [],
            path=folder,
        )
        found = learner.lr_find(suggest_funcs=getattr(schedule, rule), show_plot=False)
        return float(found[0]), len(learner.recorder.lrs)


def torch_lr_finder(task: LrTask, seed: int) -> Found:
    """`LRFinder.range_test` of 100 steps from 1e-7 to 10, and the steepest point as its plot suggests it."""
    from torch_lr_finder import LRFinder

    with _quietly():
        model = _model(task, seed)
        finder = LRFinder(model, _optimizer(task, model.parameters(), 1e-7), _loss(task), device="cpu")
        finder.range_test(_loader(task, seed), end_lr=10, num_iter=100)
        try:
            _, lr = finder.plot(suggest_lr=True)
        except (ValueError, TypeError):  # it could not compute a gradient: too few points
            lr = None
        return None if lr is None else float(lr), len(finder.history["lr"])


def lightning(task: LrTask, seed: int) -> Found:
    """`Tuner.lr_find`: 100 steps from 1e-8 to 1."""
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.tuner.tuning import Tuner

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = _model(task, seed)
            self.lr = 1e-3

        def training_step(self, batch: Any, _: int) -> Any:
            loss = _loss(task)(self.model(batch[0]), batch[1])
            return loss

        def configure_optimizers(self) -> Any:
            return _optimizer(task, self.parameters(), self.lr)

    with _quietly(), tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=1000,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            gradient_clip_val=task.trainer.get("max_grad_norm"),
        )
        finder = Tuner(trainer).lr_find(Module(), train_dataloaders=_loader(task, seed), update_attr=False)
        assert finder is not None  # only a fast_dev_run has none
        lr = finder.suggestion()
        return None if lr is None else float(lr), len(finder.results["lr"])


def rule_of_thumb(task: LrTask, seed: int) -> Found:
    """First choice of a textbook for this optimizer."""
    return task.expert_lr, 0


def torch_default(task: LrTask, seed: int) -> Found:
    """Default of the optimizer."""
    names = {"sgd": 1e-3, "nesterov": 1e-3, "rmsprop": 1e-2, "adagrad": 1e-2}
    return names.get(task.optimizer, 1e-3), 0


PEERS: dict[str, Callable[[LrTask, int], Found]] = {
    "fastai valley": partial(fastai, rule="valley"),
    "fastai steep": partial(fastai, rule="steep"),
    "torch-lr-finder steepest": torch_lr_finder,
    "Lightning": lightning,
    "rules of thumb": rule_of_thumb,
    "PyTorch's defaults": torch_default,
}


def _model(task: LrTask, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return task.model()


def _loader(task: LrTask, seed: int) -> DataLoader[Any]:
    x, y, _, _ = task.data()
    order = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(x, y), batch_size=task.batch_size, shuffle=True, drop_last=True, generator=order)


def _loss(task: LrTask) -> Callable[[Any, Any], Any]:
    return loss_function(task.task().loss)


def _optimizer(task: LrTask, params: Any, lr: float) -> torch.optim.Optimizer:
    return make_optimizer(params, TrainerSettings(**{**task.params, "lr": lr}))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Hide output, progress bars and warnings of the finders."""
    import matplotlib.pyplot as plt

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            plt.close("all")
