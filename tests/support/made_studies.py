"""Studies on a scripted executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scripted_executor import ScriptedExecutor, make_job

from probe.search.jobs.jobs import Outcome, RungJob
from probe.search.records.objective import Objective
from probe.search.records.search import BudgetLimits, Dimension, TrialResult
from probe.search.samplers.protocol import Sampler, Verdict
from probe.search.samplers.registry import make_sampler
from probe.search.space.space import Space
from probe.search.study.events import Event
from probe.search.study.plan import StudyHooks, StudyPlan, new_state
from probe.search.study.snapshots import trial_result
from probe.search.study.study import Study

QUALITY = Space(dimensions=(Dimension(name="quality", kind="float", low=0.0, high=1.0),), constants={"lr": 0.1})


ACCURACY = Objective(metric="accuracy", mode="max")


class Overheard:
    """A sampler, and somebody who hears what it is told."""

    def __init__(self, sampler: Sampler, listen: Callable[..., None]) -> None:
        self._sampler = sampler
        self._listen = listen

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        self._listen(number, verdict, value)
        self._sampler.tell(number, verdict, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)


class Ran:
    """One study, run on a scripted executor, and everything that could be seen of it."""

    def __init__(
        self,
        *,
        limits: BudgetLimits,
        executor: ScriptedExecutor | None = None,
        space: Space = QUALITY,
        rungs: tuple[int, ...] = (1, 3, 9),
        sampler: str = "random",
        seed: int = 0,
        listen: Callable[..., None] | None = None,
        can_start: Callable[..., bool] | None = None,
        **plan: Any,
    ) -> None:
        self.plan = StudyPlan(space=space, objective=ACCURACY, rungs=rungs, factor=3, limits=limits, seed=seed, **plan)
        self.executor = executor or ScriptedExecutor()
        self.state = new_state(self.plan)
        self.events: list[Event] = []
        self.seen: list[Any] = []
        self.discarded: list[tuple[int, int]] = []
        asked: Any = make_sampler(sampler, space, mode="max", seed=seed)
        if listen is not None:
            asked = Overheard(asked, listen)
        study = Study(
            self.plan,
            self.state,
            sampler=asked,
            executor=self.executor,
            make_job=make_job,
            hooks=StudyHooks(
                discard=lambda trial, epochs: self.discarded.append((trial.number, epochs)),
                can_start=can_start,
                sink=self.events.append,
                observer=self.seen.append,
                clock=self.executor.clock,
            ),
        )
        self.end = study.run()
        self.seconds = study.seconds

    @property
    def results(self) -> list[TrialResult]:
        return [trial_result(self.state, trial) for trial in self.state.trials]

    @property
    def num_epochs(self) -> float:
        return sum(result.epochs for result in self.results)


def fail_on(**outcomes: Outcome) -> Callable[[RungJob, int, int], Outcome | None]:
    """`t3=...`: trial 3 ends so in its first epoch, every time."""
    return lambda job, epoch, _: outcomes.get(f"t{job.number}")
