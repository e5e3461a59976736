"""One search, decided alike whoever runs its jobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import probe
from probe.device.select import DeviceSpec
from probe.loading.records import ValidationSplit
from probe.search.executors.protocol import Executor
from probe.search.jobs.checkpoint_files import checkpoint_path
from probe.search.jobs.jobs import RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space
from probe.search.study.events import Event, TrialEnded, TrialStarted, TrialSuggested
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.study import Study
from probe.search.study.trial import Trial
from probe.tasks.source import TargetSource

RUNGS = (1, 2, 4)
SPACE = Space(
    dimensions=(Dimension(name="quality", kind="float", low=0.1, high=0.9),), constants={"lr": 0.1, "optimizer": "sgd"}
)
STEPS_PER_EPOCH = 2
DECIDED = [
    "ask 0", "start 0 rung 0", "ask 1", "start 1 rung 0", "ask 2", "start 2 rung 0",
]  # fmt: skip
"""How it begins: three new trials, of which the best one then goes on."""


class _Promising(nn.Module):
    """Its output, whatever the input, is what `scripted_executor.steady_accuracy` says of the epoch that it is in."""

    def __init__(self, quality: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.num_steps: Tensor
        self.register_buffer("num_steps", torch.zeros(()))
        self.quality = quality

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.num_steps += 1
        epochs = self.num_steps / STEPS_PER_EPOCH
        return (self.quality * (1 - 0.5**epochs) + 0 * self.weight).expand(len(inputs), 1)


def promising(quality: float) -> probe.Task:
    inputs = torch.zeros(32, 1)
    return probe.Task(
        model=partial(_Promising, quality),
        train=(inputs, inputs),
        loss="mse",
        metrics={"accuracy": _mean_output},
        optimizer="sgd",
        batch_size=8,
        name="promising",
    )


def _mean_output(outputs: Tensor, targets: Tensor) -> float:
    return outputs.mean().item()


class DecisionConformance:
    """Fixtures: `single`, an executor of one slot, and `folder`."""

    def test_decisions_are_the_scripted_ones(self, single: Executor, folder: Path) -> None:
        from scripted_executor import ScriptedExecutor

        found, expected = decisions(single, folder), decisions(ScriptedExecutor(), folder)
        assert found == expected
        assert found[: len(DECIDED)] == DECIDED
        assert any(text.endswith("rung 2") for text in found)


def decisions(executor: Executor, folder: Path) -> list[str]:
    """Everything that a search decided, in its order."""
    plan = StudyPlan(
        space=SPACE,
        objective=Objective(metric="accuracy", mode="max", reduce="best"),
        rungs=RUNGS,
        factor=3,
        limits=BudgetLimits(trials=9, epochs=None, time_seconds=None),
        seed=3,
    )
    said: list[str] = []

    def note(event: Event) -> None:
        match event:
            case TrialSuggested(number=number):
                said.append(f"ask {number}")
            case TrialStarted(number=number, rung=rung):
                said.append(f"start {number} rung {rung}")
            case TrialEnded(number=number, report=report):
                said.append(f"end {number} {report.outcome}")

    study = Study(
        plan,
        new_state(plan),
        sampler=make_sampler("random", SPACE, mode="max", seed=3),
        executor=executor,
        make_job=_job_maker(folder),
        hooks=StudyHooks(sink=note),
    )
    assert study.run() == "trials"
    return [text for text in said if not text.startswith("end") or not text.endswith("finished")]


def _job_maker(folder: Path) -> Callable[[Trial, int, int], RungJob]:
    def make(trial: Trial, epochs_from: int, epochs_to: int) -> RungJob:
        return RungJob(
            number=trial.number,
            source=TargetSource(target="decision_conformance:promising"),
            params=trial.params,
            seed=trial.seed,
            split=ValidationSplit(fraction=0.5, seed=7),
            device=DeviceSpec(kind="cpu"),
            planned_epochs=RUNGS[-1],
            epochs_from=epochs_from,
            epochs_to=epochs_to,
            checkpoint_in=checkpoint_path(folder, trial.number, epochs_from) if epochs_from else None,
            checkpoint_out=checkpoint_path(folder, trial.number, epochs_to),
        )

    return make
