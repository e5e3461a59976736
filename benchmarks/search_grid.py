"""Does a search find in 142 epochs what a grid finds in 2,835? recipes/mnist.toml against recipes/mnist-grid.toml.

    python benchmarks/search_grid.py [--train 1000] [--seeds 3] [--set] [--workers 1] [--markdown FILE]

Both are run by probe as they are, on the same images: by default on a stratified subset of MNIST, since the grid takes hours
on all of it (`--set`). The search gets a twentieth of the grid's epochs, its probes included, and should come within half a
point of the grid's best validation accuracy. The grid is run once, the search with several seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import probe
from probe.data.registry import load_data
from probe.models.registry import build_model
from probe.recipe.load import parse_recipe
from probe.recipe.schema import Recipe
from probe.search.find import find_hyperparameters
from probe.search.records.search import SearchResult
from probe.splits import hold_out_indices
from probe.units import format_count
from probe.version import VERSION

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SHARE_OF_GRID = 20
MARGIN = 0.005
"""Of accuracy, that the search may stay behind."""
SUBSET_SEED = 7
SIZES = ("PROBE_GRID_TRAIN", "PROBE_GRID_VAL")
"""Environment variables by which the sizes of the subset reach the workers."""


def subset_task(
    layers: int = 2, width: int = 16, dropout: float = 0.0, activation: str = "relu", normalization: str = "none"
) -> probe.Task:
    """The recipes' task on few images."""
    train, val = _subset(*(int(os.environ[name]) for name in SIZES))
    params = {
        "layers": layers,
        "width": width,
        "dropout": dropout,
        "activation": activation,
        "normalization": normalization,
    }
    return probe.Task(
        model=lambda: build_model("cnn", num_outputs=10, input_shape=tuple(train[0].shape[1:]), params=params),
        train=train,
        val=val,
        loss="cross_entropy",
        metrics={"accuracy": "accuracy"},
        name="cnn on a subset of mnist",
    )


@lru_cache(maxsize=1)
def _subset(num_train: int, num_val: int) -> tuple[Any, Any]:
    data = load_data("mnist", data_dir=Path(os.environ["PROBE_DATA"]))
    inputs, classes = data.train  # type: ignore[misc]  # small images come as a pair of tensors
    _, drawn = hold_out_indices(
        len(classes), fraction=(num_train + num_val) / len(classes), seed=SUBSET_SEED, labels=classes.numpy()
    )
    inputs, classes = inputs[drawn], classes[drawn]
    train, val = hold_out_indices(
        len(classes), fraction=num_val / len(classes), seed=SUBSET_SEED, labels=classes.numpy()
    )
    return (inputs[train], classes[train]), (inputs[val], classes[val])


def recipe(name: str, *, whole: bool, **changes: dict[str, Any]) -> Recipe:
    """One of the two recipes; `changes` replace keys of its tables, None leaves one out."""
    content = tomllib.loads((RECIPES / f"{name}.toml").read_text())
    if not whole:
        content["task"] = {"target": "search_grid:subset_task", "objective": content["task"]["objective"]}
    for table, values in changes.items():
        content[table] = {key: value for key, value in {**content[table], **values}.items() if value is not None}
    return parse_recipe(content, where=name)


def run(found: Recipe, *, workers: int) -> SearchResult:
    with tempfile.TemporaryDirectory(prefix="probe-grid-") as folder:
        return find_hyperparameters(
            found, num_workers=workers, data_dir=Path(os.environ["PROBE_DATA"]), folder=Path(folder), observer=show
        )


def show(record: Any) -> None:
    """A line for every trial that has ended a rung."""
    if getattr(record, "value", None) is not None and hasattr(record, "rungs"):
        print(f"trial {record.number}: {record.value:.4f} after {record.epochs} epochs", file=sys.stderr, flush=True)


def best_value(result: SearchResult) -> float:
    if result.best is None:
        raise RuntimeError(f"{result.name}: no trial came to a value")
    return result.best.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--train", type=int, default=1000, help="images of the subset to train on")
    parser.add_argument("--val", type=int, default=1000, help="images of the subset to compare on")
    parser.add_argument("--set", dest="whole", action="store_true", help="all of MNIST; takes hours")
    parser.add_argument("--seeds", type=int, default=3, help="searches")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--grid-trials", type=int, default=243, help="fewer try a random part of the grid")
    parser.add_argument(
        "--grid-file", type=Path, help="keep the grid's outcome here, and take it from here if it is there"
    )
    parser.add_argument("--markdown", type=Path, help="write the table here")
    args = parser.parse_args()
    if "PROBE_DATA" not in os.environ:
        parser.error("set PROBE_DATA to the folder that holds MNIST")
    os.environ.update(zip(SIZES, map(str, (args.train, args.val)), strict=True))
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

    grid = find_grid(args)
    budget = {"epochs": grid["epochs"] // SHARE_OF_GRID + 1, "time": None}
    searches = [
        run(
            recipe("mnist", whole=args.whole, budget=budget, search={"seed": seed}),
            workers=args.workers,
        )
        for seed in range(1000, 1000 + args.seeds)
    ]
    lines = table(grid, searches, args)
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join([*lines, ""]))


def find_grid(args: argparse.Namespace) -> dict[str, Any]:
    """What the grid came to: its best accuracy, its epochs and its trials."""
    if args.grid_file is not None and args.grid_file.exists():
        kept: dict[str, Any] = json.loads(args.grid_file.read_text())
        return kept
    budget = {"trials": args.grid_trials, "time": None}
    result = run(recipe("mnist-grid", whole=args.whole, budget=budget), workers=args.workers)
    params = {} if result.best is None else dict(result.best.params)
    found = {
        "best": best_value(result),
        "params": params,
        "epochs": round(result.spent.epochs),
        "trials": len(result.trials),
    }
    if args.grid_file is not None:
        args.grid_file.write_text(json.dumps(found))
    return found


def table(grid: dict[str, Any], searches: list[SearchResult], args: argparse.Namespace) -> list[str]:
    if args.whole:
        images = "all of MNIST: 50,000 images to train on, 10,000 to compare"
    else:
        images = f"a stratified subset of MNIST: {args.train:,} images to train on, {args.val:,} to compare"
    behind = [grid["best"] - best_value(result) for result in searches]
    met = sum(value <= MARGIN for value in behind)
    return [
        "# A search against a grid",
        "",
        f"`python benchmarks/search_grid.py{' --set' if args.whole else ''}` with probe {VERSION}, on {images}.",
        f"Grid: recipes/mnist-grid.toml, {grid['trials']} configurations. Search: recipes/mnist.toml with 1/{SHARE_OF_GRID} of",
        "the grid's epochs, its probes included.",
        "",
        "| | configurations | epochs | best validation accuracy | behind the grid |",
        "|---|---|---|---|---|",
        f"| grid | {grid['trials']} | {format_count(grid['epochs'])} | {100 * grid['best']:.2f} % | |",
        *(
            f"| search, seed {1000 + number} | {len(result.trials)} | {result.spent.epochs:.1f} "
            f"| {100 * best_value(result):.2f} % | {100 * value:+.2f} points |"
            for number, (result, value) in enumerate(zip(searches, behind, strict=True))
        ),
        "",
        f"At most {100 * MARGIN:g} points behind: {met} of {len(searches)} searches; "
        f"the median is {100 * statistics.median(behind):+.2f} points behind.",
    ]


if __name__ == "__main__":
    main()
