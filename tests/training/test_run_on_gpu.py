"""A training on a GPU: between steps nothing needs more memory than a step, and tasks may hold tensors on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fake_gpus import FakeMachine

Make = Callable[..., FakeMachine]
LAYERS, WIDTH = 16, 1024
WEIGHTS_BYTES = LAYERS * 4 * WIDTH * WIDTH


def _adam_run() -> Any:
    """A training whose weights, gradients and Adam's two moments are most of its memory, after a step."""
    import torch
    from torch import nn

    import probe
    from probe.device.select import open_device, parse_device
    from probe.training.run import TrainingRun
    from probe.training.settings import TrainerSettings

    def model() -> nn.Module:
        return nn.Sequential(*[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])

    task = probe.Task(model=model, train=(torch.zeros(8, WIDTH), torch.zeros(8, dtype=torch.long)))
    settings = TrainerSettings(optimizer="adam", lr=1e-3, batch_size=8)
    run = TrainingRun(task, settings, device=open_device(parse_device("cuda"), measuring_memory=False), seed=0)
    run.train_step(next(run.batches()))
    return run


def _peak_bytes_of(action: Callable[[], object]) -> int:
    import torch

    torch.cuda.reset_peak_memory_stats()
    action()
    return torch.cuda.max_memory_allocated()


def _peaks() -> dict[str, int]:
    run = _adam_run()
    batches = run.batches()
    step = _peak_bytes_of(lambda: run.train_step(next(batches)))
    states: list[dict[str, Any]] = []
    save = _peak_bytes_of(lambda: states.append(run.state()))
    run.train_step(next(batches))
    return {"step": step, "save": save, "restore": _peak_bytes_of(lambda: run.restore(states[0]))}


def test_a_snapshot_needs_no_more_memory_than_a_step(fake_machine: Make) -> None:
    peaks = fake_machine().call(_peaks)
    assert peaks["step"] >= 4 * WEIGHTS_BYTES
    assert peaks["save"] <= peaks["step"]
    assert peaks["restore"] <= peaks["step"]


def _save_and_restore() -> list[str]:
    run = _adam_run()
    state = run.state()
    run.restore(state)
    run.train_step(next(run.batches()))
    return sorted({str(tensor.device) for tensor in state["model"].values()})


def test_a_model_that_just_fits_is_saved_and_restored(fake_machine: Make) -> None:
    """A copy of weights and moments on the GPU would take 192 MiB more than a step, of which 64 MiB are free."""
    step_mib = fake_machine().call(_peaks)["step"] // 2**20
    assert fake_machine(mib=step_mib + 50 + 64, context_mib=50).call(_save_and_restore) == ["cpu"]


def _range_test_and_summary() -> tuple[int, int]:
    """Steps of a range test, and zeros among the weights, counted after it."""
    from probe.lr.measure import run_range_test
    from probe.training.loop import count_weights

    run = _adam_run()
    curve = run_range_test(run, lowest_lr=1e-6, highest_lr=1e-3, num_steps=20, seed=0)
    run.train_step(next(run.batches()))
    return len(curve.points), count_weights(run.model).num_weights


def test_a_range_test_and_a_summary_need_no_more_memory_than_a_step(fake_machine: Make) -> None:
    """A copy of weights and moments on the GPU would take 192 MiB more than a step, of which 64 MiB are free."""
    step_mib = fake_machine().call(_peaks)["step"] // 2**20
    machine = fake_machine(mib=step_mib + 50 + 64, context_mib=50)
    assert machine.call(_range_test_and_summary) == (20, LAYERS * WIDTH * WIDTH)


def _peak_of_counting() -> int:
    from probe.training.loop import count_weights

    run = _adam_run()
    import torch

    before = torch.cuda.memory_allocated()
    return _peak_bytes_of(lambda: count_weights(run.model)) - before


def test_counting_weights_needs_no_copy_of_them(fake_machine: Make) -> None:
    assert fake_machine().call(_peak_of_counting) < 4096


def _task_on_gpu(kind: str) -> Any:
    import torch
    from torch import nn

    import probe

    inputs, targets = torch.randn(64, 4), torch.randint(0, 2, (64,))

    def to_gpu(samples: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.stack(list(column)).cuda() for column in zip(*samples, strict=True))

    samples = list(zip(inputs, targets, strict=True))
    train = {
        "tensors": (inputs.cuda(), targets.cuda()),
        "samples": [(one.cuda(), target.cuda()) for one, target in samples],
        "collate": samples,
    }[kind]
    return probe.Task(
        model=lambda: nn.Linear(4, 2), train=train, collate=to_gpu if kind == "collate" else None, batch_size=8
    )


def _measure(kind: str) -> tuple[int | None, int]:
    import probe

    task = _task_on_gpu(kind)
    found = probe.find_lr(task, device="cuda", steps=30)
    return probe.find_batch_size(task, device="cuda", max=4, confirm_steps=0).largest_fit, len(found.curves)


@pytest.mark.parametrize("kind", ["tensors", "samples", "collate"])
def test_data_may_be_on_the_gpu_already(kind: str, fake_machine: Make) -> None:
    assert fake_machine().call(_measure, kind) == (4, 1)
