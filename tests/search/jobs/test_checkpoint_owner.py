"""A checkpoint belongs to one trial: its number, seed and configuration. Any other trial trains its epochs again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rung_jobs import FIVE_FOLDS, job, numbers, ran

from probe.loading.records import DataReference, ValidationSplit
from probe.search.jobs.checkpoint_files import owner_of_checkpoint
from probe.search.jobs.jobs import RungJob
from probe.training.checkpoint import load_checkpoint, save_checkpoint

PARAMS = dict(job().params)
HELD_OUT = job().split
DATA = DataReference(params={}, fingerprints={"train": "b1", "test": "c2"})
OTHERS: dict[str, dict[str, Any]] = {
    "trial": {"number": 1},
    "seed": {"seed": 4},
    "a value": {"params": {**PARAMS, "lr": 0.2}},
    "its type": {"params": {**PARAMS, "lr": 0.1, "dropout": 0}},
    "epochs of the schedule": {"planned_epochs": 9},
    "held-out samples": {"split": ValidationSplit(fraction=0.25, seed=8)},
}


def first_and_rest(folder: Path, held_out: ValidationSplit, **others: Any) -> tuple[RungJob, RungJob]:
    """The first rung of one trial, and the second rung of another that would continue from the same file."""
    checkpoint = folder / "one.pt"
    first = job(split=held_out, epochs_to=1, checkpoint_out=checkpoint)
    return first, replace(first, epochs_from=1, epochs_to=2, checkpoint_in=checkpoint, checkpoint_out=None, **others)


@pytest.mark.parametrize("split", [HELD_OUT, FIVE_FOLDS], ids=["held out", "folds"])
@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
def test_another_trials_checkpoint_is_not_used(tmp_path: Path, split: ValidationSplit, others: dict[str, Any]) -> None:
    if "split" in others:
        others = {"split": replace(split, seed=8)}
    first, rest = first_and_rest(tmp_path, split, **others)
    ran(first)
    report, sent = ran(rest)
    _, whole = ran(replace(rest, epochs_from=0, checkpoint_in=None))
    assert report.outcome == "finished"
    assert numbers(sent) == numbers(whole[1:])
    assert all(fact in (report.message or "") for fact in (str(rest.checkpoint_in), "another training", "1 to 1"))
    differing = {"number": "trial", "seed": "seed"}.get(next(iter(others)), "configuration")
    assert f"(different {differing})" in (report.message or "")


@pytest.mark.parametrize("split", [HELD_OUT, FIVE_FOLDS], ids=["held out", "folds"])
def test_a_trials_own_checkpoint_is_used_wherever_it_is(tmp_path: Path, split: ValidationSplit) -> None:
    first, rest = first_and_rest(tmp_path, split)
    _, begun = ran(first)
    shutil.copy(tmp_path / "one.pt", tmp_path / "renamed.pt")
    report, sent = ran(replace(rest, checkpoint_in=tmp_path / "renamed.pt", params=dict(reversed(PARAMS.items()))))
    _, whole = ran(replace(rest, epochs_from=0, checkpoint_in=None))
    assert report.message is None
    assert numbers([*begun, *sent]) == numbers(whole)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved["state"],
        lambda saved: {"owner": saved["owner"]},
        lambda saved: {**saved, "owner": None},
        lambda saved: {**saved, "state": [1]},
        lambda saved: {**saved, "state": {**saved["state"], "epoch": 2}},
        lambda saved: {},
    ],
    ids=["no owner", "no state", "no mapping", "a list", "another epoch", "empty"],
)
def test_a_file_that_is_incomplete_is_not_used(tmp_path: Path, change: Any) -> None:
    first, rest = first_and_rest(tmp_path, HELD_OUT)
    ran(first)
    save_checkpoint(tmp_path / "one.pt", change(load_checkpoint(tmp_path / "one.pt")))
    report, sent = ran(rest)
    _, whole = ran(replace(rest, epochs_from=0, checkpoint_in=None))
    assert "another training" in (report.message or "")
    assert numbers(sent) == numbers(whole[1:])


def test_the_owner_is_one_for_all_rungs_of_a_trial_and_another_for_other_data() -> None:
    rungs = [job(), job(epochs_to=9, epochs_from=3, gradient_accumulation=2, max_seconds=1.0, needs_fresh_process=True)]
    assert owner_of_checkpoint(rungs[0]) == owner_of_checkpoint(rungs[1])
    owners = [
        owner_of_checkpoint(job(**changes))
        for changes in (
            {},
            *OTHERS.values(),
            {"split": FIVE_FOLDS},
            {"reference": DATA},
            {"reference": replace(DATA, fingerprints={"train": "b2", "test": "c2"})},
            *({"params": {"x": value}} for value in (1, 1.0, True, "1")),
        )
    ]
    assert len({tuple(owner.items()) for owner in owners}) == len(owners)
