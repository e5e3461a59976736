"""Writes a search as an Optuna study, for Optuna's dashboard and plots."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import optuna

from probe.errors import OutputError, UsageError, first_line
from probe.files import atomic_path, write_error
from probe.recipe.values import is_step
from probe.search.records.objective import Objective, epoch_value
from probe.search.records.search import Dimension, ParamValue, SearchResult, Status, TrialResult
from probe.search.samplers.optuna_samplers import quiet
from probe.search.samplers.optuna_storage import check_is_optuna, sqlite_file

Distributions = dict[str, optuna.distributions.BaseDistribution]
_STATES: Mapping[Status, optuna.trial.TrialState] = {
    "complete": optuna.trial.TrialState.COMPLETE,
    # In Optuna a pruned trial is never the best; here a trial that was not promoted can be.
    "stopped": optuna.trial.TrialState.COMPLETE,
    # TPE ignores failed trials, but learns to avoid pruned ones.
    "oom": optuna.trial.TrialState.PRUNED,
    "host_oom": optuna.trial.TrialState.PRUNED,
    "diverged": optuna.trial.TrialState.PRUNED,
    "infeasible": optuna.trial.TrialState.PRUNED,
    "undefined": optuna.trial.TrialState.PRUNED,
}
"""Optuna's state for each status. All others are failed, since they say nothing about the configuration."""


def export_to_optuna(result: SearchResult, *, storage: str, study_name: str) -> int:
    """Write a search as a new Optuna study in `storage`, a URL such as `sqlite:///x.db`, and return the number of
    trials.

    Hyperparameters have the values that were trained, in the ranges that were searched, which are widened to include
    all start points. The scores of all epochs are intermediate values. Other information is in user attributes. A new file
    appears when it is complete; in an existing storage, a study that cannot be completed is deleted again. Raises
    UsageError if Optuna cannot open such a URL, OutputError if the storage cannot be written, has a study with this name, or is
    a file of another kind.
    """
    trials = _frozen_trials(result)
    file = sqlite_file(storage)
    if file is None or file.exists():
        if file is not None:
            check_is_optuna(file)
        study = _new_study(result, storage, study_name, shown=storage)
        try:
            _fill(study, result, trials, shown=storage)
        except BaseException:
            _delete(storage, study_name)
            raise
        return len(trials)
    if not file.parent.is_dir():
        raise OutputError(f"Optuna cannot open {storage}: there is no folder {file.parent}.")
    try:
        with atomic_path(file) as temporary:
            study = _new_study(result, f"sqlite:///{temporary}", study_name, shown=storage)
            _fill(study, result, trials, shown=storage)
    except OSError as error:
        raise write_error("file of Optuna's studies", file, error) from error
    return len(trials)


def _new_study(result: SearchResult, storage: str, study_name: str, *, shown: str) -> optuna.Study:
    """An empty study; `shown` is the storage as the user named it."""
    direction: Literal["maximize", "minimize"] = "maximize" if result.mode == "max" else "minimize"
    try:
        with quiet():
            return optuna.create_study(storage=storage, study_name=study_name, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        raise OutputError(
            f"{shown} already has a study named {study_name}.",
            hint="Give another storage; existing studies are not overwritten.",
        ) from None
    except Exception as error:  # any error of its database layer
        text = first_line(error)
        if "://" not in shown or "parse" in text.lower():
            raise UsageError(
                f"--optuna: Optuna cannot open the storage '{shown}': {text}", hint="Example: --optuna sqlite:///x.db"
            ) from error
        raise OutputError(f"Optuna cannot open {shown}: {text}") from error


def _fill(study: optuna.Study, result: SearchResult, trials: Sequence[optuna.trial.FrozenTrial], *, shown: str) -> None:
    try:
        for name, value in _study_notes(result).items():
            study.set_user_attr(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Optuna warns about choices of types that it does not know
            study.add_trials(trials)
    except Exception as error:  # any error of its database layer
        raise OutputError(f"Optuna cannot write to {shown}: {first_line(error)}") from error


def _delete(storage: str, study_name: str) -> None:
    """Delete a study that is not complete. Raises OutputError if that fails."""
    try:
        with quiet():
            optuna.delete_study(study_name=study_name, storage=storage)
    except Exception as error:  # any error of its database layer
        raise OutputError(
            f"The export to {storage} failed, and its incomplete study cannot be deleted: {first_line(error)}",
            hint=f"Delete it with: optuna delete-study --study-name {study_name} --storage {storage}",
        ) from error


def _study_notes(result: SearchResult) -> dict[str, object]:
    notes: dict[str, object] = {
        "recipe": result.recipe,
        "probe_version": result.meta.probe_version,
        "metric": result.metric,
        "constants": dict(result.constants),
        "stopped_by": result.stopped_by,
    }
    if result.best is not None:
        notes["best_trial"] = result.best.number
    if result.test is not None:
        notes["test"] = result.test.value
    return notes


def _frozen_trials(result: SearchResult) -> list[optuna.trial.FrozenTrial]:
    distributions = _distributions(result.space, [trial.params for trial in result.trials])
    started = datetime.fromisoformat(result.meta.started_at).astimezone().replace(tzinfo=None)
    return [_frozen(trial, distributions, result, started) for trial in result.trials]


def _frozen(
    trial: TrialResult, distributions: Distributions, result: SearchResult, started: datetime
) -> optuna.trial.FrozenTrial:
    objective = Objective(metric=result.metric, mode=result.mode)
    scores = {report.epoch: epoch_value(objective, report) for report in trial.reports}
    params = {name: value for name, value in trial.params.items() if name in distributions}
    notes: dict[str, object] = {
        "status": trial.status,
        "epochs": trial.epochs,
        "seconds": trial.seconds,
        "seed": trial.seed,
        **{name: value for name, value in trial.params.items() if name not in distributions},
    }
    if trial.message is not None:
        notes["message"] = trial.message[:2000]
    return optuna.trial.FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=_state(trial),
        value=trial.value,
        params=params,
        distributions={name: distributions[name] for name in params},
        intermediate_values={epoch: score for epoch, score in scores.items() if score is not None},
        user_attrs=notes,
        system_attrs={},
        datetime_start=started,
        datetime_complete=started + timedelta(seconds=trial.seconds),
    )


def _state(trial: TrialResult) -> optuna.trial.TrialState:
    if trial.status == "timeout" and trial.value is not None:
        return optuna.trial.TrialState.COMPLETE
    return _STATES.get(trial.status, optuna.trial.TrialState.FAIL)


def _distributions(
    dimensions: Sequence[Dimension], configurations: Sequence[Mapping[str, ParamValue]]
) -> Distributions:
    return {
        dimension.name: _distribution(
            dimension, [params[dimension.name] for params in configurations if dimension.name in params]
        )
        for dimension in dimensions
    }


def _distribution(dimension: Dimension, values: Sequence[ParamValue]) -> optuna.distributions.BaseDistribution:
    """The distribution of a hyperparameter's values, not of its positions."""
    if dimension.kind == "choices":
        others = [value for value in dict.fromkeys(values) if value not in dimension.choices]
        return optuna.distributions.CategoricalDistribution((*dimension.choices, *others))
    numbers = [float(value) for value in values] + [end for end in (dimension.low, dimension.high) if end is not None]
    low, high = min(numbers), max(numbers)
    log = (dimension.log or dimension.kind == "pow2" or dimension.per is not None) and low > 0
    on_steps = dimension.step is not None and all(is_step(number, low, dimension.step) for number in numbers)
    step = dimension.step if on_steps else None
    if dimension.kind == "float":
        return optuna.distributions.FloatDistribution(low, high, log=log, step=step)
    return optuna.distributions.IntDistribution(int(low), int(high), log=log, step=round(step or 1))
