"""The files in a folder of checkpoints: their names, and the training that each checkpoint belongs to. Imports no PyTorch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from probe.files import finished_name
from probe.search.jobs.jobs import RungJob

WEIGHTS_FILE = "winner.safetensors"
"""Name of the file with the weights of the final training. It is written beside the checkpoints if they are in a shared folder,
and then moved to the run's folder."""
_CHECKPOINT = re.compile(r"trial-([0-9]{5,})-epoch-([0-9]{5,})\.pt")
_NODE_PROBE = re.compile(r"\.seen-by-[0-9a-f]{8}-[0-9a-f]{8}(\..+)?")


def checkpoint_path(folder: Path, number: int, epochs: int) -> Path:
    """Return the file of the checkpoint of trial `number` after so many epochs."""
    return folder / f"trial-{number:05d}-epoch-{epochs:05d}.pt"


def node_probe_path(folder: Path, node_id: str, token: str) -> Path:
    """Return the file by which a node of a cluster shows that it sees the folder."""
    return folder / f".seen-by-{node_id[:8]}-{token[:8]}"


def is_own_file(name: str) -> bool:
    """Whether probe made a file with this name: a checkpoint, a node's probe, or the unfinished content of a checkpoint or
    of the weights."""
    finished = finished_name(name)
    match = _CHECKPOINT.fullmatch(finished)
    if match is not None:
        number, epochs = map(int, match.groups())
        return checkpoint_path(Path(), number, epochs).name == finished
    return (finished == WEIGHTS_FILE and finished != name) or _NODE_PROBE.fullmatch(name) is not None


def owner_of_checkpoint(job: RungJob) -> Mapping[str, int | str]:
    """Identify the training whose checkpoints the job reads and writes. It is equal for all jobs of a trial, and different
    for a trial with another number, seed or configuration, which includes the data."""
    configuration = {
        "params": dict(job.params),
        "planned_epochs": job.planned_epochs,
        "split": asdict(job.split),
        "data": None if job.reference is None else dict(job.reference.fingerprints),
    }
    canonical = json.dumps(configuration, sort_keys=True, separators=(",", ":"))
    return {
        "trial": job.number,
        "seed": job.seed,
        "configuration": hashlib.sha256(canonical.encode()).hexdigest(),
    }
