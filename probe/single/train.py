"""`probe.train`: train one configuration once, with its training curves, weights and test score."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe.device.environment import collect_meta
from probe.device.failures import OutOfMemory, within_memory
from probe.device.select import DeviceSpec, open_device, parse_device
from probe.diagnosis.diagnose import diagnose
from probe.errors import NothingFitsError, OutputError, ProbeError, UsageError
from probe.loading.records import ValidationSplit, overlap_warnings, shared_test_samples
from probe.recipe.dump import dump_recipe, fixed_params, recipe_hash, with_seed
from probe.recipe.schema import Recipe
from probe.records import RunOrigin
from probe.search.analysis.messages import training_warnings
from probe.search.checks import check_names, check_recipe
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
    """Train the one configuration of `recipe`, such as the best.toml of a search, and score it once on the test split.

    Args:
        recipe: a recipe whose [space] holds constants only, or the path of its TOML file.
        task: a Task, or a function that builds one, to use instead of the recipe's [task]; as for `find_hyperparameters`.
        epochs: number of epochs; by default those of the recipe's longest trial.
        all_data: train on the validation split as well. There is no validation curve then.
        seed: seed of the weights, the order of the data and the validation split; by default the recipe's search.seed.
        device: device to train on, such as `"auto"`, `"cpu"` or `"cuda:0"`.
        data_dir: folder for downloaded data sets.
        overrides: changes to a recipe file, such as `["space.lr=0.01"]`.
        folder: folder for `weights.safetensors`, which `safetensors.torch.load_model` reads; None to keep no weights.
        observer: called with a TrainStarted record, then with an EpochReport after each epoch.
        argv: command line to record in the result.

    Returns:
        The result. `stopped_by` is "finished" if all epochs were trained. Otherwise it is "interrupted" (Ctrl-C), "diverged" or
        "oom" (out of memory), and the result holds the curves and weights of the last completed epoch.

    Raises:
        RecipeError, TaskError, DeviceError, UsageError: before any training. Exceptions of the task's own code pass.
        KeyboardInterrupt: if Ctrl-C is pressed in the first epoch.
    """
    found = recipe_with_task(recipe, task, overrides=overrides)
    # Built with the recipe's own seed, so that the test split is always the same.
    source = (
        recipe_source(found, data_dir=Path(data_dir)) if task is None else given_source(task, seed=task_seed(found))
    )
    found = found if seed is None else with_seed(found, seed)
    if epochs is not None and (isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1):
        raise UsageError(f"epochs must be an integer of at least 1, not {epochs!r}.")
    params = fixed_params(found)
    check_recipe(found)
    check_names(found, source)
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
    """The error to show for a training that ran out of memory or diverged; None if it finished or was interrupted."""
    after = f"after {len(result.reports)} of {result.epochs} epochs" if result.reports else "in its first epoch"
    if result.stopped_by == "oom":
        return NothingFitsError(
            f"Training {result.task} ran out of memory {after}.",
            hint="Use a smaller batch (--set space.batch_size=N); `probe batch` finds the largest that fits.",
        )
    if result.stopped_by == "diverged":
        return NothingFitsError(
            f"Training {result.task} diverged {after}: the loss is not a finite number.",
            hint="Use a smaller learning rate (--set space.lr=X); `probe lr` finds one. If the learning rate is high, training "
            "may diverge with one seed and not with another.",
        )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Completed:
    """Completed epochs. Replaced as a whole after each epoch, so that curves and weights agree when Ctrl-C is pressed."""

    reports: tuple[EpochReport, ...] = ()
    weights: dict[str, Any] | None = None
    """Weights after the last of the reports, on the CPU."""


@dataclass(slots=True, kw_only=True)
class _Training:
    """One training, from loading the data to the result."""

    recipe: Recipe
    params: dict[str, ParamValue]
    source: TaskSource
    epochs: int
    all_data: bool
    folder: Path | None
    observer: Observer
    completed: _Completed = field(default_factory=_Completed)
    untrained_loss: float | None = None
    """Validation loss before the first step; None if it is not finite or there is no validation split."""
    warnings: list[str] = field(default_factory=list)
    num_shared: int = 0
    """Test samples that are also training or validation samples."""
    summary: TrainingSummary | None = None
    weights: WeightCounts | None = None

    @property
    def objective(self) -> Objective:
        wanted = self.recipe.task.objective
        return Objective(metric=wanted.metric, mode=wanted.mode, reduce=wanted.reduce)

    def run(self, device: Device, argv: Sequence[str]) -> TrainResult:
        started = time.perf_counter()
        origin = RunOrigin(argv=tuple(argv), recipe_hash=recipe_hash(self.recipe))
        meta = collect_meta(device=device.name, seed=self.recipe.search.seed, origin=origin)
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
                if not self.completed.reports:
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
        """The task, with the validation split of a search with the same seed. Raises RecipeError, TaskError."""
        from probe.loading.validation import merge_validation, split_task
        from probe.training.building import build_task, check_splits
        from probe.training.reached_hyperparameters import check_lr_reached

        task = build_task(self.source, self.params)
        if "lr" in self.params:
            check_lr_reached(task, self.source, self.params)
        overlaps = check_splits(task)
        self.num_shared = shared_test_samples(overlaps)
        self.warnings += overlap_warnings(overlaps)
        check_metric(self.objective, tuple(task.metrics))
        validation, seed = self.recipe.task.validation, derive_seed(self.recipe.search.seed, "validation")
        fraction = validation.fraction or 1 / validation.num_folds  # with k-fold validation: the size of one fold
        task = split_task(task, ValidationSplit(fraction=fraction, seed=seed))
        return merge_validation(task) if self.all_data else task

    def _start(self, task: Task, device: Device) -> TrainingRun:
        """Build the model and measure its validation loss before the first step, which the diagnosis starts from."""
        from probe.training.run import TrainingRun
        from probe.training.settings import TrainerSettings

        settings = TrainerSettings.for_task(task, {**self.params, "epochs": self.epochs})
        self.warnings += device.warnings(settings.precision)
        run = TrainingRun(task, settings, device=device, seed=derive_seed(self.recipe.search.seed, "train"))
        if task.val is not None:
            loss = run.evaluate(task.val).loss
            self.untrained_loss = loss if math.isfinite(loss) else None
        return run

    def _train(self, run: TrainingRun, device: Device) -> TrainEnd:
        from probe.training.checkpoint import copied_weights
        from probe.training.loop import count_weights, summarize_training, train_epochs

        def receive(report: EpochReport) -> None:
            with device.untracked():  # the copy is on the host
                weights = copied_weights(run.model)
            self.completed = _Completed(reports=(*self.completed.reports, report), weights=weights)
            self.observer(report)

        stop = within_memory(device, lambda: train_epochs(run, self.epochs, on_report=receive))
        if isinstance(stop, OutOfMemory) or stop.reason == "diverged":
            return "oom" if isinstance(stop, OutOfMemory) else "diverged"
        summary = within_memory(device, lambda: summarize_training(run, self.completed.reports[-1]))
        self.summary = None if isinstance(summary, OutOfMemory) else summary
        self.weights = count_weights(run.model)
        return "finished"

    def _save(self, run: TrainingRun) -> str | None:
        """Save the weights of the last completed epoch. Returns the name of the file; None, with a warning, if that fails."""
        from probe.training.checkpoint import WEIGHTS_FILE, left_out_warning, save_weights

        if self.folder is None or self.completed.weights is None:
            return None
        run.model.load_state_dict(self.completed.weights)  # an interrupted epoch has changed them
        try:
            left_out = save_weights(run.model, self.folder / WEIGHTS_FILE)
        except OutputError as error:
            self.warnings.append(error.message)
            return None
        warning = left_out_warning(WEIGHTS_FILE, left_out)
        self.warnings += [] if warning is None else [warning]
        return WEIGHTS_FILE

    def _score(self, run: TrainingRun, device: Device) -> Score | None:
        from probe.search.jobs.final_training import score_test_split

        scored = within_memory(device, lambda: score_test_split(run, self.objective.metric))
        if isinstance(scored, OutOfMemory):
            scored = (None, "Scoring the model on the test split ran out of memory.")
        score, problem = scored
        self.warnings += [] if problem is None else [problem]
        return None if score is None else replace(score, num_shared=self.num_shared)

    def _result(self, **measured: Any) -> TrainResult:
        objective, reports = self.objective, self.completed.reports
        best = best_epoch(replace(objective, reduce="best"), reports)
        values = {report.epoch: epoch_value(objective, report) for report in reports}
        diagnosis = None
        if reports:
            diagnosis = diagnose(
                reports, metric=objective.metric, mode=objective.mode, untrained_loss=self.untrained_loss
            )
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
            diagnosis=diagnosis,
            warnings=(*self.warnings, *training_warnings(reports)),
            summary=self.summary,
            weights=self.weights,
            **measured,
        )


def _sizes(task: Task) -> dict[str, Any]:
    from probe.loading.dataset import num_samples

    splits = {"num_train": task.train, "num_val": task.val, "num_test": task.test}
    return {name: None if data is None else num_samples(data) for name, data in splits.items()}
