"""Grid, random, Bayesian and evolutionary search on one space with one budget: which finds the lowest validation loss?

    python benchmarks/strategies.py [--seeds 5] [--recipes NAME .. | --mixed] [--workers 2] [--out DIR]
                                    [--set KEY=VALUE ..] [--markdown FILE]

Runs recipes/digits-grid.toml, -random, -bayes and -evolution (and, with --recipes, any other that has the same objective) with
seeds 0 to 4, and compares them as `probe compare` does. The grid's configurations are the same whatever the seed; the seed is
that of its order, of the initial weights and of the validation part, as in the others. Searches that lie in --out already are
not run again. Expected: random no worse than grid (Bergstra & Bengio 2012), Bayesian no worse than random; the last lines say
whether it was so.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from probe.recipe.load import load_recipe
from probe.report.search.comparison import search_comparison_page
from probe.report.store import write_report
from probe.search.compare.compare import NamedSearch, compare_searches
from probe.search.find import find_hyperparameters
from probe.search.records.comparison import SearchComparison
from probe.search.records.search import DATABASE_FILE, SearchResult
from probe.search.stored_result import stored_incumbents, stored_result
from probe.version import VERSION

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
STRATEGIES = ("digits-grid", "digits-random", "digits-bayes", "digits-evolution")
MIXED_FROM = "digits-bayes"
MIXED_SPACE = """{
    optimizer = { choices = ["sgd", "adam", "rmsprop"] },
    momentum = { low = 0.5, high = 0.99, when = { optimizer = "sgd" } },
    lr = { low = 1e-4, high = 1.0, log = true },
    depth = { low = 1, high = 4 },
    dropout = { low = 0.0, high = 0.5, when = { depth = { min = 2 } } },
    activation = { choices = ["relu", "gelu", "tanh"] },
    width = { low = 32, high = 128, pow2 = true },
    batch_size = { low = 16, high = 128, pow2 = true },
}"""
MIXED = (
    "space=" + " ".join(MIXED_SPACE.replace(",\n}", "\n}").split()),
    "search={fidelity={max=9}}",
    "budget={epochs=240}",
)
"""What makes of digits-bayes.toml a space of every kind, with the loss to minimize."""
MIXED_SAMPLERS = {"mixed-auto": "auto", "mixed-tpe": "tpe", "mixed-random": "random"}
EXPECTED = (
    ("digits-random", "digits-grid"),
    ("digits-bayes", "digits-random"),
    ("mixed-auto", "mixed-tpe"),
    ("mixed-auto", "mixed-random"),
)
"""(no worse, than)."""


def run(name: str, seed: int, folder: Path, *, workers: int, changes: Sequence[str]) -> SearchResult:
    """One search, or what is stored of it."""
    if (folder / DATABASE_FILE).is_file():
        return stored_result(folder)
    if name in MIXED_SAMPLERS:
        changes = (*MIXED, *changes, f"name={name}", f"search.sampler={MIXED_SAMPLERS[name]}")
    source = MIXED_FROM if name in MIXED_SAMPLERS else name
    recipe = load_recipe(RECIPES / f"{source}.toml", overrides=(*changes, f"search.seed={seed}"))
    began = time.monotonic()
    result = find_hyperparameters(recipe, device="cpu", num_workers=workers, folder=folder)
    value = "none" if result.best is None else f"{result.best.value:.4f}"
    print(f"{name}, seed {seed}: {value} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return result


def compare(
    names: Sequence[str], seeds: Sequence[int], out: Path, *, workers: int, changes: Sequence[str] = ()
) -> SearchComparison:
    """Seed by seed, so that an interrupted benchmark has whole pairs; grouped by recipe."""
    found = {}
    for seed in seeds:
        for name in names:
            folder = out / f"{name}-{seed}"
            result = run(name, seed, folder, workers=workers, changes=changes)
            curve = stored_incumbents(folder / DATABASE_FILE, result)
            if curve is None:
                raise RuntimeError(f"{folder} does not hold the search that was run in it")
            found[name, seed] = NamedSearch(folder=folder.name, result=result, curve=curve)
    return compare_searches([found[name, seed] for name in names for seed in seeds])


def verdicts(result: SearchComparison) -> list[str]:
    """Whether what is expected came out: differences of means, paired by seed, with their standard error."""
    lines = []
    values = {(run.group, run.seed): run.value for run in result.runs}
    seeds = sorted({run.seed for run in result.runs})
    for better, worse in EXPECTED:
        pairs = [(values.get((better, seed)), values.get((worse, seed))) for seed in seeds]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if not differences:
            continue
        mean = statistics.fmean(differences)
        error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
        told = "as expected" if mean <= 0 else "not as expected"
        doubt = "" if abs(mean) > 2 * error else ", within twice its standard error"
        lines.append(
            f"{better} against {worse}: {mean:+.4f} validation loss on average (standard error {error:.4f}, "
            f"{len(differences)} pairs of seeds): {told}{doubt}."
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    parser.add_argument("--recipes", nargs="+", default=list(STRATEGIES), help="names in recipes/, without .toml")
    parser.add_argument("--mixed", action="store_true", help="compare samplers on one space of every kind")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keep the searches and the comparison here; a temporary folder else")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="change a key of all recipes")
    parser.add_argument("--markdown", type=Path, help="write the comparison here, its picture beside it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="probe-strategies-") as temporary:
        out = args.out or Path(temporary)
        names = list(MIXED_SAMPLERS) if args.mixed else args.recipes
        result = compare(names, range(args.seeds), out, workers=args.workers, changes=tuple(args.changes))
        told = verdicts(result)
        print(search_comparison_page(result, []))
        print("\n".join(told))
        if args.out:
            write_report(result, out / "comparison")
        if args.markdown:
            write_markdown(result, told, args.markdown, num_seeds=args.seeds)


def write_markdown(result: SearchComparison, told: Sequence[str], path: Path, *, num_seeds: int) -> None:
    from probe.report.search.comparison_plots import draw_search_comparison
    from probe.report.shared.plots import plot_style

    picture = path.with_suffix(".png")
    with plot_style():
        drawn = draw_search_comparison(result, picture)
    which = " --mixed" if result.runs[0].group in MIXED_SAMPLERS else ""
    head = f"`python benchmarks/strategies.py{which} --seeds {num_seeds}` with probe {VERSION}.\n\n"
    body = search_comparison_page(result, ["comparison.png"] if drawn else []).replace(
        "(comparison.png)", f"({picture.name})"
    )
    title, _, rest = body.partition("\n\n")
    lines = "\n".join(f"- {line}" for line in told)
    path.write_text(f"{title}\n\n{head}{lines}\n\n{rest}", encoding="utf-8")


if __name__ == "__main__":
    main()
