"""Draw the plots of docs/learning-rate.md from real training on the tasks of `lr_tasks.py`.

python benchmarks/lr_pictures.py docs/pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lr_tasks import TASKS, LrTask
from matplotlib.axes import Axes

import probe
from probe.device.cpu import CpuDevice
from probe.lr.records import LrResult
from probe.report.lr.plots import draw_lr, lr_axis
from probe.report.shared.plots import BLACK, LINES, MARKERS, color_of, new_figure, plot_style, save_figure
from probe.training.run import TrainingRun
from probe.units import format_lr

LossCurve = list[tuple[int, float]]
"""(steps, validation loss)"""


def loss_curve(task: LrTask, lr: float, num_steps: int) -> LossCurve:
    """Validation losses of one training at a constant learning rate, after steps that increase by a fifth each."""
    built = task.task()
    run = TrainingRun(built, task.settings, device=CpuDevice(), seed=0)
    wanted = {round(1.2**power) for power in range(8, 80)}
    points: LossCurve = []
    for step, batch in zip(range(1, num_steps + 1), run.batches(), strict=False):
        run.set_lr(lr)
        run.train_step(batch)
        if step in wanted:
            points.append((step, run.evaluate(built.val).loss))
    return points


def draw_distance(path: Path) -> None:
    """Plot the same trainings against steps, and against learning rate times steps."""
    task, lrs, num_steps = TASKS["few_noisy_adam"], (3e-4, 1e-3, 3e-3, 1e-2), 1500
    courses = [loss_curve(task, lr, num_steps) for lr in lrs]
    figure, panels = new_figure(2, width=11.0)
    titles = ("Loss on unseen data against steps", "The same against learning rate x steps")
    for axes, title, scaled in zip(panels, titles, (False, True), strict=True):
        for number, (lr, points) in enumerate(zip(lrs, courses, strict=True)):
            axes.plot(
                [step * (lr if scaled else 1) for step, _ in points],
                [loss for _, loss in points],
                color=color_of(number),
                linestyle=LINES[number],
                marker=MARKERS[number],
                markersize=3.5,
                label=f"lr {format_lr(lr)}",
            )
        lr_axis(axes)
        axes.set_xlabel("learning rate x steps" if scaled else "steps")
        axes.set_ylabel("validation loss")
        axes.legend()
        axes.set_title(title)
    save_figure(figure, path)


def draw_failures(path: Path) -> None:
    """Plot range tests that give no suggestion, or only a lower bound."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2000, 20, generator=generator)
    noise = torch.randint(0, 4, (2000,), generator=generator)
    classes = inputs[:, :4].argmax(1)

    def linear() -> torch.nn.Module:
        model = torch.nn.Linear(20, 4)
        torch.nn.init.zeros_(model.weight)  # at chance from the start
        return model

    random_labels = probe.Task(model=linear, train=(inputs, noise), optimizer="sgd", batch_size=64)
    learnable = replace(random_labels, train=(inputs, classes))
    results = {
        "Nothing to learn: the drop is noise": probe.find_lr(random_labels, device="cpu"),
        "--from too high: rises at once": probe.find_lr(learnable, lowest_lr=20.0, highest_lr=1e4, device="cpu"),
        "--to too low: still falling": probe.find_lr(learnable, highest_lr=3e-2, device="cpu"),
    }
    figure, panels = new_figure(3, width=13.0, height=3.4)
    for axes, (title, result) in zip(panels, results.items(), strict=True):
        _draw_curve(axes, result)
        axes.set_title(title)
    panels[0].set_ylabel("training loss")
    save_figure(figure, path)
    for title, result in results.items():
        print(f"{title}: {result.suggestion} {result.warnings}")


def _draw_curve(axes: Axes, result: LrResult) -> None:
    points = result.curves[0].points
    lrs: Sequence[float] = [point.lr for point in points]
    axes.plot(lrs, [point.loss for point in points], color="#BBBBBB", linewidth=0.8)
    axes.plot(lrs, [point.smoothed_loss for point in points], color=color_of(0), linewidth=2.2)
    if result.suggestion is not None:
        axes.axvline(
            result.suggestion.lr, color=BLACK, linestyle="--", label=f"suggested: {format_lr(result.suggestion.lr)}"
        )
        axes.legend()
    lr_axis(axes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with plot_style():
        draw_distance(folder / "distance.png")
        draw_failures(folder / "failures.png")
        task = TASKS["classes_mlp_sgd"]
        result = probe.find_lr(
            task.task(), params=task.params, training_steps=task.training_steps, confirm="full", device="cpu"
        )
        draw_lr(result, folder / "confirmed.png")


if __name__ == "__main__":
    main()
