"""Every recipe at its default budget: how long it takes, what it finds, and its example report.

    python benchmarks/recipes.py [NAME ...] [--reports FOLDER] [--readme FILE] [--set KEY=VALUE ...]

Runs `probe search recipes/NAME.toml` one after the other, each into its own folder of reports/examples (an older report of
that name is replaced once the new one is there), and writes the table of commands, times and answers between the markers of
recipes/README.md. A recipe whose data are missing is skipped, and says so. Without names, all. Rows of recipes
that were not run are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEADER = ["| command | time | validation | test |", "|---|--:|--:|--:|"]
MAX_BYTES = 10 * 2**20
"""Of all examples together."""
KEPT = ("report.md", "result.json", "trials.csv", "best.toml")
"""And pictures and small weights: what of a run makes an example. The search's own file stays out."""
MAX_WEIGHTS_BYTES = 2**18
DATA_FOLDERS = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "reuters": "reuters",
    "cifar10": "cifar-10-batches-bin",
}
"""Of the data sets that are not part of a checkout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    name: str
    seconds: float
    result: Mapping[str, Any] | None
    """What `probe search` wrote; None where it could not run."""
    message: str = ""
    """Why not."""


def recipe_names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.toml"))


def missing_data(recipe: Path, data_dir: Path) -> str | None:
    """What a recipe needs that is not there, so that no benchmark begins with a download; None where nothing is missing."""
    data = str(tomllib.loads(recipe.read_text(encoding="utf-8"))["task"].get("data", ""))
    kind, colon, path = data.partition(":")
    if colon:
        return None if (ROOT / path).exists() else f"there is no {path}"
    folder = data_dir / DATA_FOLDERS[kind] if kind in DATA_FOLDERS else None
    if folder is None or (folder.is_dir() and any(folder.iterdir())):
        return None
    return f"there is no {kind} in {data_dir} (probe data {kind}, or --data-dir)"


def run_recipe(recipe: Path, *, reports: Path, data_dir: Path, overrides: Sequence[str]) -> Run:
    """One search through the command line, as a user would start it; its report replaces the older one."""
    name = recipe.stem
    missing = missing_data(recipe, data_dir)
    if missing is not None:
        return Run(name=name, seconds=0.0, result=None, message=f"skipped: {missing}")
    reports.mkdir(parents=True, exist_ok=True)
    out = reports / name
    # The report shows the command as it was typed: paths are relative, and the data's folder stays out of it.
    command = [sys.executable, "-m", "probe", "search", _short(recipe), "--quiet", "--out", _short(out)]
    command += [part for text in overrides for part in ("--set", text)]
    with tempfile.TemporaryDirectory(prefix="example-") as aside:
        older = Path(aside) / name
        if out.exists():
            shutil.move(out, older)
        started = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PROBE_DATA": str(data_dir)},
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            shutil.rmtree(out, ignore_errors=True)
            if older.exists():
                shutil.move(older, out)
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            return Run(name=name, seconds=seconds, result=None, message=f"failed: {lines[0]}")
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    keep_example(out)
    return Run(name=name, seconds=seconds, result=result)


def keep_example(run: Path) -> None:
    """Take away what of a run's folder is no part of an example."""
    for path in sorted(run.iterdir()):
        is_small = path.suffix == ".safetensors" and path.stat().st_size <= MAX_WEIGHTS_BYTES
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT and path.suffix != ".png" and not is_small:
            path.unlink()


def _short(path: Path) -> str:
    """Relative to the checkout where it lies in it."""
    absolute = path.absolute()
    return str(absolute.relative_to(ROOT) if absolute.is_relative_to(ROOT) else absolute)


def table_row(run: Run) -> str:
    command = f"`probe search recipes/{run.name}.toml`"
    if run.result is None:
        return f"| {command} | | {run.message.replace('|', '/')} | |"
    best, test, metric = run.result["best"], run.result["test"], run.result["metric"]
    link = f"[{run.name}](../reports/examples/{run.name}/report.md)"
    validation = "nothing" if best is None else f"{metric} {shown(metric, best['value'])}"
    return f"| {command} ({link}) | {minutes(run.seconds)} | {validation} | {test_text(test)} |"


def test_text(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return "no test part"
    interval = ""
    if test["low"] is not None:
        interval = f" ({shown(test['metric'], test['low'])} to {shown(test['metric'], test['high'])})"
    return f"{test['metric']} {shown(test['metric'], test['value'])}{interval}"


def shown(metric: str, value: float) -> str:
    from probe.units import format_percent, format_value

    return format_percent(value) if metric == "accuracy" else format_value(value)


def minutes(seconds: float) -> str:
    from probe.units import format_seconds

    return format_seconds(seconds)


def with_rows(readme: str, rows: Mapping[str, str]) -> str:
    """The text of README.md with these rows in its table; rows of other recipes stay. Raises ValueError without markers."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"the table belongs between {BEGIN} and {END}, each once")
    before, rest = readme.split(BEGIN)
    table, after = rest.split(END)
    known = {found[1]: line for line in table.splitlines() if (found := re.search(r"recipes/([\w.-]+)\.toml`", line))}
    known = {name: line for name, line in known.items() if line.startswith("| ")}
    lines = [line for _, line in sorted((known | dict(rows)).items())]
    return "\n".join([f"{before}{BEGIN}", *HEADER, *lines, f"{END}{after}"])


def num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="recipes, like digits-kfold; by default all")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes", help="where they are")
    parser.add_argument("--reports", type=Path, default=ROOT / "reports" / "examples", help="where example reports go")
    parser.add_argument("--readme", type=Path, default=ROOT / "recipes" / "README.md", help="whose table is written")
    parser.add_argument(
        "--data-dir", type=Path, default=None, help="of named data sets; by default $PROBE_DATA, or data"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes every recipe alike")
    options = parser.parse_args(arguments)
    known = recipe_names(options.recipes)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"there is no recipe {unknown[0]} in {options.recipes}; known: {', '.join(known)}")
    data_dir = options.data_dir or Path(os.environ.get("PROBE_DATA", "data"))
    failed = False
    for name in options.names or known:
        run = run_recipe(
            options.recipes / f"{name}.toml",
            reports=options.reports,
            data_dir=data_dir.absolute(),
            overrides=options.set,
        )
        failed = failed or run.message.startswith("failed")
        print(table_row(run), flush=True)
        if not run.message.startswith("skipped"):  # a row that was measured elsewhere is worth more than a gap
            text = options.readme.read_text(encoding="utf-8")
            options.readme.write_text(with_rows(text, {name: table_row(run)}), encoding="utf-8")
    size = num_bytes(options.reports) if options.reports.is_dir() else 0
    print(f"\nAll examples together: {size / 2**20:.1f} MiB of at most {MAX_BYTES / 2**20:.0f}.")
    return int(failed or size > MAX_BYTES)


if __name__ == "__main__":
    sys.exit(main())
