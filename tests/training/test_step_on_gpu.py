"""The training step on a fake GPU: fused optimizers, penalties, and no more launches than in a plain loop."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from fake_gpus import FakeMachine

Make = Callable[..., FakeMachine]


def _run(num_layers: int = 3, *, sparse: bool = False, **settings: Any) -> Any:
    import torch
    from torch import nn

    import probe
    from probe.device.select import open_device, parse_device
    from probe.training.run import TrainingRun
    from probe.training.settings import TrainerSettings

    def model() -> nn.Module:
        if sparse:
            return nn.Sequential(nn.EmbeddingBag(9, 16, sparse=True), nn.Linear(16, 4))
        return nn.Sequential(*[nn.Linear(16, 16) for _ in range(num_layers)], nn.Linear(16, 4))

    inputs = torch.zeros(2048, 3, dtype=torch.long) if sparse else torch.randn(2048, 16)
    task = probe.Task(model=model, train=(inputs, torch.zeros(2048, dtype=torch.long)))
    device = open_device(parse_device("cuda"), measuring_memory=False)
    return TrainingRun(task, TrainerSettings(**({"batch_size": 32} | settings)), device=device, seed=0)


def _num_launches(action: Callable[[], object]) -> int:
    count: Callable[[], int] = ctypes.CDLL(None).fake_num_launches
    before = count()
    action()
    return count() - before


def _launches() -> tuple[int, int, int]:
    """Launches of an epoch of probe, of one of a plain loop, and the number of steps."""
    import torch
    from torch.nn import functional

    run = _run(optimizer="adam")
    inputs, targets = (tensor.cuda() for tensor in run.task.train)
    optimizer = torch.optim.Adam(run.model.parameters(), fused=True)

    def plain() -> None:
        order = torch.randperm(len(inputs)).cuda()
        for start in range(0, len(inputs), 32):
            rows = order[start : start + 32]
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(run.model(inputs[rows]), targets[rows]))
            optimizer.step()

    plain()
    run.train_epoch()
    return _num_launches(run.train_epoch), _num_launches(plain), run.num_steps_per_epoch


def test_a_step_launches_no_more_than_one_of_a_plain_loop(fake_machine: Make) -> None:
    ours, plain, steps = fake_machine().call(_launches)
    assert steps == 64
    assert plain > 10 * steps
    assert ours - plain <= 2  # the losses of an epoch are read together


def _fused() -> dict[str, Any]:
    def is_fused(**settings: Any) -> Any:
        run = _run(**settings)
        run.train_step(next(run.batches()))
        return run.optimizer.param_groups[0].get("fused")

    names = ("sgd", "nesterov", "adam", "adamw", "adagrad", "rmsprop")
    found = {name: is_fused(optimizer=name) for name in names}
    found["off"] = is_fused(optimizer="adam", fused=False)
    found["sparse"] = is_fused(optimizer="sgd", sparse=True)
    found["fp16"] = is_fused(optimizer="adamw", precision="fp16", max_grad_norm=1.0, l2=0.1)
    return found


def test_optimizers_are_fused_on_a_gpu_where_pytorch_has_them(fake_machine: Make) -> None:
    fused = dict.fromkeys(("sgd", "nesterov", "adam", "adamw", "adagrad", "fp16"), True)
    assert fake_machine().call(_fused) == fused | dict.fromkeys(("rmsprop", "off", "sparse"))


def _penalties(num_layers: int, decoupled: bool) -> int:
    """How many launches a step has more with both penalties than with none."""
    options: tuple[dict[str, Any], ...] = ({}, {"l1": 0.1, "l2": 0.1, "decoupled": decoupled})
    counts = []
    for run in (_run(num_layers, optimizer="sgd", **given) for given in options):
        batches = run.batches()
        run.train_step(next(batches))
        counts.append(_num_launches(partial(_step, run, batches)))
    return counts[1] - counts[0]


def _step(run: Any, batches: Any) -> None:
    run.train_step(next(batches))


@pytest.mark.parametrize("decoupled", [False, True])
def test_penalties_are_launched_for_all_weights_at_once(decoupled: bool, fake_machine: Make) -> None:
    worker = fake_machine().worker()
    few, many = (worker.call(_penalties, num_layers, decoupled) for num_layers in (2, 12))
    assert 0 < few == many
