"""The stages of gpu_session.py, one module each with a function `run(session)`.

- `session.py`: what a stage is given, and the process that it runs in; `loops.py`: made tasks and hand-written training loops
- `facts.py`, `conformance.py`, `errors.py`, `edge.py`, `agreement.py`: whether what probe assumes of a GPU is so
- `predictions.py`, `throughput.py`, `small_networks.py`, `precisions.py`, `learning_rates.py`, `sharing.py`: how well it does

A stage appends rows to the record as it measures them. If it is stopped, they are kept, and the next run continues after them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stage:
    module: str
    title: str
    share: float
    """Seconds that it takes on an H200; the time is divided in proportion."""
    needs: tuple[str, ...] = ()
    """Packages besides PyTorch."""
    fake_numbers: str | None = None
    """What means nothing under the fake driver."""

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[-1]


PROBE = ("cloudpickle", "psutil")
VISION = (*PROBE, "torchvision")
SEARCH = (
    *PROBE,
    "click",
    "rich",
    "pydantic",
    "optuna",
    "cmaes",
    "scipy",
    "pandas",
    "matplotlib",
    "sklearn",
    "filelock",
    "tomli_w",
)
TIMES, LOSSES = "times", "losses"


def _stage(name: str, title: str, share: float, needs: tuple[str, ...] = (), fake_numbers: str | None = None) -> Stage:
    return Stage(module=f"gpu_session_stages.{name}", title=title, share=share, needs=needs, fake_numbers=fake_numbers)


STAGES = (
    _stage("facts", "Facts of the device", 25, fake_numbers="the growth of the context and the workspaces of cuDNN"),
    _stage("conformance", "Conformance", 25),
    _stage(
        "errors", "Errors in their own words", 80, fake_numbers="the texts of errors that the driver was told to raise"
    ),
    _stage("edge", "The edge", 110, VISION),
    _stage("agreement", "CPU against GPU", 45, PROBE, LOSSES),
    _stage("predictions", "Predictions against found", 110, VISION),
    _stage("throughput", "Throughput against hand-written loops", 45, VISION, TIMES),
    _stage("small_networks", "Small networks", 30, PROBE, TIMES),
    _stage("precisions", "Precisions", 45, VISION, f"{TIMES} and {LOSSES}"),
    _stage("learning_rates", "Learning rates", 40, PROBE, f"{TIMES} and {LOSSES}"),
    _stage("sharing", "Sharing by several workers", 60, SEARCH, TIMES),
)
