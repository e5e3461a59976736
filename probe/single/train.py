"""`probe.train`: one configuration, trained once, with its curves, its weights and its score on the test part."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.device.environment import collect_meta
from probe.device.guard import OutOfMemory, within_memory
from probe.device.select import DeviceSpec, open_device, parse_device
from probe.diagnosis.diagnose import diagnose
from probe.errors import NothingFitsError, OutputError, ProbeError, UsageError
from probe.loading.records import ValidationSplit, overlap_warnings, shared_test_samples
from probe.recipe.dump import dump_recipe, recipe_hash
from probe.recipe.fixed import fixed_params, with_seed
from probe.recipe.schema import Recipe
from probe.records import RunOrigin
from probe.search.analysis.undefined import training_warnings
from probe.search.checks import check_names, check_values
from probe.search.records.objective import Objective, best_epoch, check_metric, epoch_value
from probe.search.records.search import ParamValue, Score
from probe.seeds import derive_seed
from probe.single.records import TrainEnd, TrainResult, TrainStarted
from probe.tasks.given import TaskFunction, given_source
from probe.tasks.source import TaskSource, recipe_source, recipe_with_task, task_seed
from probe.training.records import EpochReport, TrainingSummary, WeightCounts

if TYPE_CHECKING:
    from probe.device.protocol import Device
    from probe.task import Task
    from probe.training.run import TrainingRun

Observer = Callable[[Any], None]


def train(
    recipe: Recipe | Path | str,
    *,
    task: Task | TaskFunction | None = None,
    epochs: int | None = None,
    all_data: bool = False,
    seed: int | None = None,
    device: str | DeviceSpec = "auto",
    data_dir: Path | str = "data",
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    observer: Observer | None = None,
    argv: Sequence[str] = (),
) -> TrainResult:
    """Train the one configuration of `recipe`, like the best.toml that a search leaves, and score it once on the test part.

    Args:
        recipe: a recipe whose [space] holds constants only, or the path of its TOML file; `overrides` like
            `space.lr=0.01` are for the latter.
        task: what is trained, in place of what the recipe's [task] names, as for `find_hyperparameters`.
        epochs: how many; by default those of the recipe's longest trial.
        all_data: train on the validation part, too; there is no validation curve then.
        seed: in place of search.seed, for the weights, the order of the data and what is held out.
        folder: where `weights.safetensors` goes, for `safetensors.torch.load_model`; None: the weights are not kept.
        observer: called with a TrainStarted, then with an EpochReport after each epoch.

    Ctrl-C ends the training with the weights and the curves of its last whole epoch: `stopped_by` is then "interrupted"; in
    the first epoch there is nothing to keep, and KeyboardInterrupt passes. "diverged" and "oom" (out of memory) keep what
    there was in the same way.

    Raises:
        RecipeError, TaskError, DeviceError, UsageError: before anything is trained. What the task's own code raises passes.
    """
    found = recipe_with_task(recipe, task, overrides=overrides)
    # Made with the recipe's own seed, so that the test part stays what it was.
    source = (
        recipe_source(found, data_dir=Path(data_dir)) if task is None else given_source(task, seed=task_seed(found))
    )
    found = found if seed is None else with_seed(found, seed)
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise UsageError(f"epochs must be a whole number of at least 1, not {epochs!r}.")
    params = fixed_params(found)
    check_names(found, source)
    check_values(found)
    training = _Training(
        recipe=found,
        params=params,
        source=source,
        epochs=epochs or found.longest_epochs,
        all_data=all_data,
        folder=None if folder is None else folder.absolute(),
        observer=observer or (lambda record: None),
    )
    spec = device if isinstance(device, DeviceSpec) else parse_device(device)
    return training.run(open_device(spec, measuring_memory=False), argv)


def outcome_error(result: TrainResult) -> ProbeError | None:
    """What the user has to be told about a training that came to no end of its own; None for one that did, or was
    interrupted."""
    after = f"after {len(result.reports)} of {result.epochs} epochs" if result.reports else "in its first epoch"
    if result.stopped_by == "oom":
        return NothingFitsError(
            f"Training {result.task} ran out of memory {after}.",
            hint="Take a smaller batch (--set space.batch_size=N); `probe batch` finds the largest that fits.",
        )
    if result.stopped_by == "diverged":
        return NothingFitsError(
            f"Training {result.task} diverged {after}: the loss is no longer a finite number.",
            hint="Lower the learning rate (--set space.lr=X); `probe lr` finds one. "
            "Another seed than the search's can be enough to tip a high one over.",
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Replaced as one after each epoch, so that Ctrl-C finds curves and weights in step."""

    reports: tuple[EpochReport, ...] = ()
    weights: dict[str, Any] | None = None
    """After the last of the reports, on the CPU."""


@dataclass(slots=True, kw_only=True)
class _Training:
    """One training from the task's data to its record."""

    recipe: Recipe
    params: dict[str, ParamValue]
    source: TaskSource
    epochs: int
    all_data: bool
    folder: Path | None
    observer: Observer
    kept: _Kept = field(default_factory=_Kept)
    untrained_loss: float | None = None
    warnings: list[str] = field(default_factory=list)
    num_shared: int = 0
    """Test samples that are training or validation samples, too."""
    summary: TrainingSummary | None = None
    weights: WeightCounts | None = None

    @property
    def objective(self) -> Objective:
        wanted = self.recipe.task.objective
        return Objective(metric=wanted.metric, mode=wanted.mode, reduce=wanted.reduce)

    def run(self, device: Device, argv: Sequence[str]) -> TrainResult:
        started = time.perf_counter()
        seed = self.recipe.search.seed
        meta = collect_meta(
            device=device.name, seed=seed, origin=RunOrigin(argv=tuple(argv), recipe_hash=recipe_hash(self.recipe))
        )
        task = self._task()
        sizes = _sizes(task)
        self.observer(TrainStarted(epochs=self.epochs, metric=self.objective.metric, **sizes))
        device.reset_peaks()
        stopped_by: TrainEnd = "oom"
        weights_file: str | None = None
        test: Score | None = None
        run = within_memory(device, lambda: self._start(task, device))
        if not isinstance(run, OutOfMemory):
            try:
                stopped_by = self._train(run, device)
                weights_file = self._save(run)
                test = self._score(run, device) if stopped_by == "finished" else None
            except KeyboardInterrupt:
                if not self.kept.reports:
                    raise
                stopped_by = "interrupted"
                weights_file = weights_file or self._save(run)
        return self._result(
            meta=meta,
            stopped_by=stopped_by,
            weights_file=weights_file,
            test=test,
            memory=device.read_memory(),
            seconds=time.perf_counter() - started,
            **sizes,
        )

    def _task(self) -> Task:
        """The task, with the validation part that a search of the same seed holds out. Raises RecipeError, TaskError."""
        from probe.loading.validation import merge_validation, split_task
        from probe.training.building import build_task, check_splits
        from probe.training.optim.reached_hyperparameters import check_lr_reached

        task = build_task(self.source, self.params)
        if "lr" in self.params:
            check_lr_reached(task, self.source, self.params)
        overlaps = check_splits(task)
        self.num_shared = shared_test_samples(overlaps)
        self.warnings += overlap_warnings(overlaps)
        check_metric(self.objective, tuple(task.metrics))
        validation, seed = self.recipe.task.validation, derive_seed(self.recipe.search.seed, "validation")
        share = validation.fraction or 1 / validation.num_folds  # of folds, as much is held out as one of them
        task = split_task(task, ValidationSplit(fraction=share, seed=seed))
        return merge_validation(task) if self.all_data else task

    def _start(self, task: Task, device: Device) -> TrainingRun:
        """The model before its first step, and its loss on the validation part: what the curves are held against."""
        from probe.training.run import TrainingRun
        from probe.training.settings import TrainerSettings

        settings = TrainerSettings.for_task(task, {**self.params, "epochs": self.epochs})
        run = TrainingRun(task, settings, device=device, seed=derive_seed(self.recipe.search.seed, "train"))
        if task.val is not None:
            loss = run.evaluate(task.val).loss
            self.untrained_loss = loss if math.isfinite(loss) else None
        return run

    def _train(self, run: TrainingRun, device: Device) -> TrainEnd:
        from probe.training.summary import count_weights, summarize_training
        from probe.training.weights import copied_weights

        while run.epoch < self.epochs:
            report = within_memory(device, run.run_epoch)
            if report is None or isinstance(report, OutOfMemory):
                return "diverged" if report is None else "oom"
            self.kept = _Kept(reports=(*self.kept.reports, report), weights=copied_weights(run.model))
            self.observer(report)
        summary = within_memory(device, lambda: summarize_training(run, self.kept.reports[-1]))
        self.summary = None if isinstance(summary, OutOfMemory) else summary
        self.weights = count_weights(run.model)
        return "finished"

    def _save(self, run: TrainingRun) -> str | None:
        """The file's name; None where there is nothing to save or it cannot be written, which is then a warning."""
        from probe.training.weights import WEIGHTS_FILE, left_out_warning, save_weights

        if self.folder is None or self.kept.weights is None:
            return None
        run.model.load_state_dict(self.kept.weights)  # an epoch that was cut short has moved them on
        try:
            left_out = save_weights(run.model, self.folder / WEIGHTS_FILE)
        except OutputError as error:
            self.warnings.append(error.message)
            return None
        warning = left_out_warning(WEIGHTS_FILE, left_out)
        self.warnings += [] if warning is None else [warning]
        return WEIGHTS_FILE

    def _score(self, run: TrainingRun, device: Device) -> Score | None:
        from probe.search.jobs.final_training import score_test_part

        scored = within_memory(device, lambda: score_test_part(run, self.objective.metric))
        if isinstance(scored, OutOfMemory):
            scored = (None, "Scoring the model on the test split ran out of memory.")
        score, problem = scored
        self.warnings += [] if problem is None else [problem]
        return None if score is None else replace(score, num_shared=self.num_shared)

    def _result(self, **measured: Any) -> TrainResult:
        objective, reports = self.objective, self.kept.reports
        best = best_epoch(replace(objective, reduce="best"), reports)
        values = {report.epoch: epoch_value(objective, report) for report in reports}
        return TrainResult(
            name=self.recipe.name,
            recipe=dump_recipe(self.recipe),
            task=self.source.title,
            metric=objective.metric,
            mode=objective.mode,
            params=self.params,
            epochs=self.epochs,
            all_data=self.all_data,
            reports=reports,
            best_epoch=best,
            best_value=None if best is None else values[best],
            last_value=values[reports[-1].epoch] if reports else None,
            diagnosis=diagnose(
                reports, metric=objective.metric, mode=objective.mode, untrained_loss=self.untrained_loss
            )
            if reports
            else None,
            warnings=(*self.warnings, *training_warnings(reports)),
            summary=self.summary,
            weights=self.weights,
            **measured,
        )


def _sizes(task: Task) -> dict[str, Any]:
    from probe.loading.dataset import num_samples

    parts = {"num_train": task.train, "num_val": task.val, "num_test": task.test}
    return {name: None if part is None else num_samples(part) for name, part in parts.items()}
