"""How good is the best configuration that a search finds with 60 epochs of training in all? probe beside four other ways.

    python benchmarks/search_efficiency.py [--seeds 10] [--methods NAME ..] [--processes 2] [--cache DIR]
                                           [--markdown FILE] [--png FILE]

The space: a small CNN; lr 1e-5 to 1 (log), batch 16 to 256, 1 to 3 convolutions, width 8 to 32, dropout 0 to 0.5, weight decay
1e-6 to 1e-1 (log), SGD with momentum, Adam or RMSprop; ReLU, GELU or tanh. At most 9 epochs a trial. Every search trains the
same code on the same images and is compared on the same others; an epoch counts where it is asked for, whoever asks; a range
test counts by the samples it saw. Seeds of searches are paired and were fixed beforehand: none of them served to choose
anything in probe.

Trained epochs are kept in --cache: interrupted or changed, the benchmark trains only what is new.
Extra: pip install '.[bench]'
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

from efficiency_methods import PEERS, Method, Outcome
from efficiency_training import EPOCHS_A_TRIAL, EPOCHS_IN_ALL, Images, Ledger, find_images, remembered

from probe.version import VERSION

FIRST_SEED = 3000
CACHE = Path(tempfile.gettempdir()) / "probe-search-efficiency"
RIVAL = "Optuna TPE + halving"


@dataclass(frozen=True, kw_only=True)
class SearchCurve:
    """Best accuracy so far against epochs spent, of one search."""

    method: str
    seed: int
    probe_epochs: float
    num_trials: int
    best: tuple[float, ...]
    """After each epoch of the trials."""

    @property
    def final(self) -> float:
        return self.best[-1]

    def at(self, epochs: float) -> float:
        """The best accuracy when that many epochs are spent; 0 before the first."""
        done = math.floor(epochs - self.probe_epochs + 1e-9)
        return 0.0 if done < 1 else self.best[min(done, len(self.best)) - 1]

    def epochs_to(self, accuracy: float) -> float:
        """Epochs spent until it was reached; infinite where it never was."""
        reached = (index for index, best in enumerate(self.best, start=1) if best >= accuracy)
        return self.probe_epochs + next(reached, math.inf)


def methods() -> dict[str, Method]:
    from efficiency_ours import OURS

    return {**OURS, **PEERS}


def run_search(method: str, seed: int, images: Images, cache: Path) -> SearchCurve:
    """One search, from what is known of it or anew. Only the peers' curves are kept: probe itself may have changed."""
    import torch

    torch.set_num_threads(1)

    def compute() -> dict[str, object]:
        ledger = Ledger(images=images, store=cache / "epochs")
        return asdict(methods()[method](seed, ledger))

    folder = f"{images.data}-{images.side}-{images.num_train}"
    found = Outcome(
        **(remembered(cache / "curves" / folder / method / f"{seed}.json", compute) if method in PEERS else compute())
    )
    total = found.probe_epochs + len(found.accuracies)
    if total > EPOCHS_IN_ALL + 1e-9:
        raise RuntimeError(f"{method}, seed {seed}, spent {total:.2f} epochs of {EPOCHS_IN_ALL}")
    return SearchCurve(
        method=method,
        seed=seed,
        probe_epochs=found.probe_epochs,
        num_trials=found.num_trials,
        best=tuple(accumulate(found.accuracies, max)),
    )


def run_all(
    names: Sequence[str], seeds: Sequence[int], images: Images, cache: Path, *, processes: int
) -> dict[tuple[str, int], SearchCurve]:
    """Seed by seed, so that an interrupted benchmark has whole pairs."""
    curves: dict[tuple[str, int], SearchCurve] = {}
    started = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        waiting = [pool.submit(run_search, name, seed, images, cache) for seed in seeds for name in names]
        for future in as_completed(waiting):
            curve = future.result()
            curves[curve.method, curve.seed] = curve
            print(
                f"{time.monotonic() - started:6.0f} s  seed {curve.seed}  {curve.method}: {curve.final:.4f} "
                f"({curve.num_trials} trials, {curve.probe_epochs:.2f} probe epochs)",
                file=sys.stderr,
                flush=True,
            )
    return curves


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval by Student's t."""
    from scipy.stats import t

    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return mean, -math.inf, math.inf
    half = float(t.ppf(0.975, len(differences) - 1)) * statistics.stdev(differences) / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def table(
    curves: Mapping[tuple[str, int], SearchCurve], names: Sequence[str], seeds: Sequence[int], ours: str
) -> list[str]:
    """Markdown: one line a method; differences are paired by seed."""
    level = statistics.fmean(curves[RIVAL, seed].final for seed in seeds) if RIVAL in names else None
    lines = [
        f"| search | best accuracy, mean | `{ours}` minus it, points, 95 % interval "
        f"| epochs to {RIVAL}'s mean, median | trials, median |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        own = [curves[name, seed] for seed in seeds]
        mean, low, high = interval([curves[ours, seed].final - curves[name, seed].final for seed in seeds])
        difference = "" if name == ours else f"{100 * mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        reach = "" if level is None else format_epochs(statistics.median(curve.epochs_to(level) for curve in own))
        accuracy = 100 * statistics.fmean(curve.final for curve in own)
        trials = statistics.median(curve.num_trials for curve in own)
        lines.append(f"| {name} | {accuracy:.2f} % | {difference} | {reach} | {trials:g} |")
    return lines


def format_epochs(epochs: float) -> str:
    return f"{epochs:.1f}" if math.isfinite(epochs) else f"more than {EPOCHS_IN_ALL}"


def draw(curves: Mapping[tuple[str, int], SearchCurve], names: Sequence[str], seeds: Sequence[int], path: Path) -> None:
    """Mean best accuracy against epochs spent."""
    from probe.report.shared.plots import LINES, color_of, new_figure, plot_style, save_figure

    with plot_style():
        figure, (axes,) = new_figure(1)
        epochs = range(1, EPOCHS_IN_ALL + 1)
        for number, name in enumerate(names):
            means = [statistics.fmean(curves[name, seed].at(epoch) for seed in seeds) for epoch in epochs]
            axes.plot(epochs, means, label=name, color=color_of(number), linestyle=LINES[number % len(LINES)])
        axes.set_xlabel("epochs of training spent, range tests included")
        axes.set_ylabel("best validation accuracy so far")
        finals = [curves[name, seed].final for name in names for seed in seeds]
        axes.set_ylim(min(finals) - 0.06, max(finals) + 0.005)
        axes.set_title(f"Mean of {len(seeds)} searches each")
        axes.legend(loc="lower right")
        save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from --first-seed on")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--methods", nargs="+", help="some of the table's names; all by default")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument(
        "--side", type=int, help="MNIST's images are scaled to so many pixels a side; 14 by default, 28 at most"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="of trained epochs")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--png", type=Path, help="draw the curves here")
    args = parser.parse_args()
    names = args.methods or list(methods())
    unknown = set(names) - set(methods())
    if unknown:
        parser.error(f"no such methods: {', '.join(sorted(unknown))}; there are: {', '.join(methods())}")
    os.environ["OMP_NUM_THREADS"] = "1"
    images = find_images(args.side)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    curves = run_all(names, seeds, images, args.cache, processes=args.processes)
    lines = table(curves, names, seeds, names[0])
    print("\n".join(lines))
    if args.png:
        draw(curves, names, seeds, args.png)
    if args.markdown:
        args.markdown.write_text("\n".join([*preface(images, seeds), *lines, ""]))


def preface(images: Images, seeds: Sequence[int]) -> list[str]:
    return [
        "# Searching with 60 epochs",
        "",
        f"`python benchmarks/search_efficiency.py --seeds {len(seeds)}` with probe {VERSION}.",
        f"Data: {images.title}.",
        f"{EPOCHS_IN_ALL} epochs in all, range tests included, at most {EPOCHS_A_TRIAL} a trial; seeds {seeds[0]} to",
        f"{seeds[-1]} of every search, paired.",
        "",
    ]


if __name__ == "__main__":
    main()
