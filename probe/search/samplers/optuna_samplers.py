"""What to try next: Optuna's samplers behind a small protocol, those that learn from what was tried.

The Optuna study lives in memory and holds one number of each trial, from its first rung on: the latest score. Waiting
for the last rung would leave the sampler blind for most of the budget; scores after a longer training are mostly
better, so that trials that were promoted count as better than those that were not, as in Optuna's own order of pruned
trials. Every ask starts from its own seed, so that a study rebuilt from its trials goes on exactly as the one that was
never interrupted.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.search_space import IntersectionSearchSpace

from probe.search.records.objective import Mode
from probe.search.records.search import ParamValue
from probe.search.samplers.history_window import FORGETTING, is_full, kept_in_window
from probe.search.samplers.optuna_study import create_study, numpy_seed, suggest
from probe.search.samplers.protocol import Verdict
from probe.search.space.space import Positions, Space, draw
from probe.seeds import derive_seed

KEEPING_NOTES = ("cma-es", "evolutionary", "qmc")
"""Samplers that write their own state (a generation, a covariance, a place in a sequence) into Optuna's study when
asked."""
WITHOUT_CONSTRAINTS = ("cma-es", "evolutionary")
"""Samplers that learn from completed trials only."""
STARTUP_TRIALS = 5
"""Drawn at random, start points among them, before TPE decides. Optuna's 10 would be most of a small budget."""
MAX_RETOLD = 100
"""Trials up to which a score from a later rung takes the place of the first one: that takes a new study, and with more trials
the first scores say enough. Samplers that keep notes never get one, as their notes come from the first score."""
POPULATION = 10
"""Of the evolutionary sampler. Optuna's 50 would be one generation, drawn at random, of a usual search."""


@dataclass(slots=True)
class _Entry:
    number: int
    positions: Mapping[str, ParamValue]
    verdict: Verdict | None = None
    value: float | None = None
    """As Optuna is told it."""
    told: int = -1
    """Its place among the first verdicts."""


class OptunaSampler:
    """One of Optuna's samplers over an in-memory study, which is rebuilt from `_entries` where history changes.

    Some forget beyond WINDOW trials: at a place that follows from the asks and tells before it, which a replay repeats.

    Samplers that keep notes in the study need the same trials in it, under the same of Optuna's numbers, whether a
    configuration was their own proposal, a start point, or comes back from a file: so each of our trials has two of
    Optuna's, first what the sampler proposes, then what was taken instead or, where it was taken as it is, nothing.
    """

    exhausted = False

    def __init__(self, name: str, space: Space, *, mode: Mode, seed: int) -> None:
        self.name = name
        self._space = space
        self._mode = mode
        self._seed = seed
        self._entries: list[_Entry] = []
        self._by_number: dict[int, tuple[_Entry, optuna.Trial | None]] = {}
        """A trial of Optuna's is None until the study is made with it."""
        self._num_told = 0
        self._worst: float | None = None
        self._is_stale = False
        """The study is not what `_entries` say, and is made anew before it decides anything: a search that is made
        again from its events need not hand them to Optuna one by one."""
        self._clear()

    def ask(self, number: int, *, at: Positions | None = None) -> dict[str, ParamValue]:
        if self.name in FORGETTING and is_full(
            len(self._entries), sum(entry.verdict is None for entry in self._entries)
        ):
            self._forget()
        if at is not None and self.name not in KEEPING_NOTES:
            entry = _Entry(number, dict(at))
            self._entries.append(entry)
            self._by_number[number] = (entry, None)
            self._is_stale = True
            return dict(at)
        if self._is_stale:
            self._rebuild()
        entry = _Entry(number, {})
        trial = self._open(entry, at)
        entry.positions = dict(trial.params)
        self._entries.append(entry)
        return dict(trial.params)

    def tell(self, number: int, verdict: Verdict, value: float | None = None) -> None:
        if number not in self._by_number:  # forgotten
            return
        entry, trial = self._by_number[number]
        told_before = entry.verdict is not None
        if told_before and verdict == "scored" and (self.name in KEEPING_NOTES or len(self._entries) > MAX_RETOLD):
            return
        entry.verdict, entry.value = verdict, value
        if not told_before:
            entry.told, self._num_told = self._num_told, self._num_told + 1
        if told_before or trial is None:
            self._is_stale = True
        else:
            self._close(trial, entry)

    def discard(self, number: int) -> None:
        entry, trial = self._by_number.pop(number)
        self._entries.remove(entry)
        if trial is not None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _open(self, entry: _Entry, at: Positions | None) -> optuna.Trial:
        sampler = _seeded(self.name, self._seed, entry.number, self._shared)
        if self.name not in KEEPING_NOTES:
            # Where all positions are given, nothing is drawn.
            trial = self._ask(sampler if at is None else optuna.samplers.RandomSampler(seed=0), at)
        else:
            while self._num_asked < 2 * entry.number:
                self._study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
                self._num_asked += 1
            if self._num_asked > 2 * entry.number:  # its proposal was discarded
                trial = self._ask(sampler, at)
            else:
                trial = self._ask(sampler, None)
                if at is not None and dict(trial.params) != dict(at):
                    self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    trial = self._ask(sampler, at)
        self._by_number[entry.number] = (entry, trial)
        return trial

    def _ask(self, sampler: optuna.samplers.BaseSampler, at: Positions | None) -> optuna.Trial:
        self._study.sampler = sampler
        if at is not None:
            self._study.enqueue_trial(dict(at))
        trial = self._study.ask()
        draw(self._space, lambda axis: suggest(trial, axis))
        self._num_asked += 1
        return trial

    def _close(self, trial: optuna.Trial, entry: _Entry) -> None:
        if entry.verdict == "scored" and entry.value is not None:
            self._worst = entry.value if self._worst is None else self._worse(entry.value, self._worst)
            self._study.tell(trial, entry.value)
        elif entry.verdict in ("scored", "infeasible") and self.name not in WITHOUT_CONSTRAINTS:
            # Told as failed it would be invisible, and TPE walks into the same wall again and again.
            trial.set_constraint("infeasible", 1.0)
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif entry.verdict in ("scored", "infeasible") and self._worst is not None:
            # These see completed trials only: one that is as bad as the worst so far keeps them away without bending a
            # fit.
            self._study.tell(trial, self._worst)
        else:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def _worse(self, one: float, other: float) -> float:
        return min(one, other) if self._mode == "max" else max(one, other)

    def _forget(self) -> None:
        kept = kept_in_window([(one.number, one.value) for one in self._entries if one.verdict is not None], self._mode)
        self._entries = [entry for entry in self._entries if entry.verdict is None or entry.number in kept]
        self._by_number = {entry.number: (entry, None) for entry in self._entries}
        self._is_stale = True

    def _clear(self) -> None:
        self._study = create_study(self._mode)
        self._shared = IntersectionSearchSpace(include_pruned=True)
        self._by_number.clear()
        self._num_asked = 0
        self._worst = None

    def _rebuild(self) -> None:
        """Those that keep notes are led through the history as it was; for the others only the order of the verdicts
        counts."""
        self._clear()
        keeps_notes = self.name in KEEPING_NOTES
        for entry in self._entries:
            trial = self._open(entry, entry.positions)
            if keeps_notes and entry.verdict is not None:
                self._close(trial, entry)
        told = [] if keeps_notes else [entry for entry in self._entries if entry.verdict is not None]
        for entry in sorted(told, key=lambda entry: entry.told):
            opened = self._by_number[entry.number][1]
            if opened is not None:
                self._close(opened, entry)
        self._is_stale = False


class _TPESampler(optuna.samplers.TPESampler):
    """Optuna's, one for each ask, with what it would forget in between: which dimensions all trials of the study have.
    To find that anew is a third of an ask with a thousand trials."""

    def __init__(self, shared: IntersectionSearchSpace, *, seed: int) -> None:
        # Multivariate over what all trials share, independent for conditional hyperparameters; running trials count as
        # bad ones, so that parallel workers spread out.
        super().__init__(seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True)
        self._shared = shared

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        found = self._shared.calculate(study, use_cache=True)
        return {name: distribution for name, distribution in found.items() if not distribution.single()}


def _seeded(name: str, search_seed: int, number: int, shared: IntersectionSearchSpace) -> optuna.samplers.BaseSampler:
    """The sampler for one ask. Only `qmc` has one seed for all: its draws are the places of one sequence."""
    seed = numpy_seed(derive_seed(search_seed, number, "sampler"))
    if name == "cma-es":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if name == "evolutionary":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
    if name == "qmc":
        # Scrambled: a plain Sobol sequence begins in the lowest corner of the space.
        sequence_seed = numpy_seed(derive_seed(search_seed, "sampler"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.QMCSampler(scramble=True, seed=sequence_seed, warn_independent_sampling=False)
    return _TPESampler(shared, seed=seed)
