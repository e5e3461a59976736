"""Searches on Ray: the overhead of the driver, and the state of a search after a node or the driver was killed.

    python benchmarks/ray_scaling.py [--runs 20] [--rungs 1000] [--parts overhead idle nodes frozen drivers] [--markdown FILE]

Overhead and idle fraction: a real study (space, scheduler, search.sqlite on disk) on two workers of this machine, first on Ray
(`local:2`), then on the local executor. Each worker has imported PyTorch and trained before the measurement. For the overhead,
rungs report their epochs and train nothing; for the idle fraction they train and sleep. The ideal time is that of the rungs, as
measured by their workers, divided by the number of slots. All other time is overhead: of the disk, of the study, and of the end
of the search, when one slot has no job left.

Storms: `python -m probe search RECIPE --ray HOST:PORT` on two nodes with one core each (ray.cluster_utils) on this machine.
SIGKILL hits the second node (raylet and workers) or the driver, at a random moment between the second row of the search and
about 85 % of its rows. A killed driver is resumed at once. The head is never killed, since Ray needs it. The results come from
search.sqlite, and from a ledger that the jobs write. Every fourth storm over a driver is deterministic and is compared with the
same search without interruption and without Ray. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from ray_clusters import cluster_environment
from ray_costs import EXECUTORS, RUNGS, RUNGS_A_TRIAL, Cost, executor_of, study_on, training_nothing
from ray_storms import DriverKill, NodeKill, RayStorms, ray_storms
from ray_tables import cost_tables, driver_table, frozen_table, node_table, write_section

from probe.version import VERSION

PARTS = ("overhead", "idle", "nodes", "frozen", "drivers")
IDLE_RUNGS = ((1.0, 30), (3.0, 10))
"""Seconds of a rung, and number of rungs."""
DETERMINISTIC_EVERY = 4
HEALTH_CHECKS: dict[str, dict[str, int]] = {
    "Ray's default: five of 10 s, 3 s apart": {},
    "three of 1 s, 1 s apart (`RAY_health_check_...`)": {"period_ms": 1000, "timeout_ms": 1000, "failure_threshold": 3},
}


def driver_costs(num_rungs: int, *, parts: Sequence[str]) -> list[Cost]:
    """The costs of each executor, one after the other."""
    found: list[Cost] = []
    for name in EXECUTORS:
        with tempfile.TemporaryDirectory() as temporary, executor_of(name, Path(temporary)) as executor:
            folder = Path(temporary)
            if "overhead" in parts:
                trials = max(2, round(num_rungs / RUNGS_A_TRIAL))
                with training_nothing():
                    study = study_on(executor, folder / "many", num_trials=trials, rungs=RUNGS, epoch_seconds=0.0)
                found.append(Cost(executor=name, sleep_seconds=None, study=study))
                print(found[-1], flush=True)
            for seconds, count in IDLE_RUNGS if "idle" in parts else ():
                study = study_on(
                    executor, folder / f"idle-{seconds}", num_trials=count, rungs=(1,), epoch_seconds=seconds
                )
                found.append(Cost(executor=name, sleep_seconds=seconds, study=study))
                print(found[-1], flush=True)
    return found


def node_storm(storms: RayStorms, num_runs: int) -> list[NodeKill]:
    found: list[NodeKill] = []
    with suppress(KeyboardInterrupt):  # on Ctrl-C, show the results so far
        for seed in range(num_runs):
            with tempfile.TemporaryDirectory() as name:
                found.append(storms.kill_node(Path(name), seed=seed))
            print(seed, found[-1], flush=True)
    return found


def frozen_nodes() -> dict[str, NodeKill]:
    """Stop a node without closing its connections, with Ray's default health checks and with shorter ones."""
    found: dict[str, NodeKill] = {}
    for label, checks in HEALTH_CHECKS.items():
        environment = {f"RAY_health_check_{name}": str(value) for name, value in checks.items()}
        with patch.dict(os.environ, environment), ray_storms() as storms, tempfile.TemporaryDirectory() as name:
            found[label] = storms.kill_node(Path(name), seed=0, frozen=True)
        print(label, found[label], flush=True)
    return found


def driver_storm(storms: RayStorms, num_runs: int) -> list[DriverKill]:
    found: list[DriverKill] = []
    with suppress(KeyboardInterrupt):
        for seed in range(num_runs):
            with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
                whole = None if seed % DETERMINISTIC_EVERY else storms.leave_alone(Path(one), seed=seed)
                found.append(storms.kill_driver(Path(other), seed=seed, whole=whole))
            print(seed, found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="searches in each storm")
    parser.add_argument("--rungs", type=int, default=1_000, help="approximate number of rungs for the overhead")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--markdown", type=Path, help="also write the tables to this file, after each part")
    options = parser.parse_args()
    os.environ.update(cluster_environment())
    import ray

    preface = [
        "# Searches on Ray",
        "",
        f"`python benchmarks/ray_scaling.py` with probe {VERSION}, Ray {ray.__version__}, Python {platform.python_version()}.",
        "",
    ]

    def add(lines: list[str]) -> None:
        print("\n".join(lines), flush=True)
        if options.markdown is not None:
            write_section(options.markdown, "\n".join(preface), "\n".join(lines))

    if {"overhead", "idle"} & set(options.parts):
        add(cost_tables(driver_costs(options.rungs, parts=options.parts)))
    if "frozen" in options.parts:
        add(frozen_table(frozen_nodes()))
    if {"nodes", "drivers"} & set(options.parts):
        with ray_storms() as storms:
            if "nodes" in options.parts:
                add(node_table(node_storm(storms, options.runs)))
            if "drivers" in options.parts:
                add(driver_table(driver_storm(storms, options.runs)))


if __name__ == "__main__":
    main()
