"""A search's task stays what it was: through its rungs, its workers, and when it goes on after a stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_recipes import blobs_recipe
from rung_jobs import job, numbers, ran
from searches import search_outcome

from probe.cli.answers import answer_lines
from probe.device.select import DeviceSpec
from probe.errors import ChangedDataError, DataError
from probe.loading.records import DataReference, ValidationSplit
from probe.records_json import from_plain, to_plain
from probe.report.search.page import search_page
from probe.report.shared.wording import test_note as note_of
from probe.report.shared.wording import test_trust as trust_of
from probe.search.checks import warnings_for
from probe.search.records.search import Score, TrialResult
from probe.search.resume import same_task
from probe.search.schedulers.fidelity import FidelitySchedule
from probe.search.task_info import TaskInfo, code_changes, describe_task, same_task_info, task_changes
from probe.single.train import train
from probe.tasks.source import TargetSource
from probe.tasks.target import code_hashes, load_task

SPLIT = ValidationSplit(fraction=0.25, seed=7)


def look(target: str, seed: int = 0, **params: Any) -> TaskInfo:
    return describe_task(TargetSource(target=f"odd_tasks:{target}", seed=seed), SPLIT, params)


def test_every_rung_and_every_process_sees_the_same_split(tmp_path: Path) -> None:
    source = TargetSource(target="odd_tasks:coin_flips", seed=3)
    checkpoint = tmp_path / "one.pt"
    shared: dict[str, Any] = {
        "source": source,
        "params": {"lr": 0.01},
        "reference": look("coin_flips", seed=3).reference,
    }
    _, whole = ran(job(**shared, epochs_to=3))
    _, first = ran(job(**shared, epochs_to=1, checkpoint_out=checkpoint))
    _, rest = ran(job(**shared, epochs_from=1, epochs_to=3, checkpoint_in=checkpoint))
    assert numbers([*first, *rest]) == numbers(whole)
    assert look("coin_flips", seed=3) == look("coin_flips", seed=3)
    assert task_changes(look("coin_flips", seed=3), look("coin_flips", seed=4)) == [
        f"{part} data: other samples, or in another order" for part in ("training", "validation", "test")
    ]


def test_a_rung_on_other_data_is_no_trial() -> None:
    reference = look("coin_flips", seed=3).reference
    other = TargetSource(target="odd_tasks:coin_flips", seed=4)
    with pytest.raises(ChangedDataError, match="training, validation and test splits"):
        ran(job(source=other, params={"lr": 0.01}, reference=reference))


@pytest.mark.parametrize("test", ["validation", "copy", "piece"])
def test_a_test_part_of_other_parts_samples_is_refused(test: str) -> None:
    with pytest.raises(DataError, match="40 of 40 test samples are"):
        look("overlapping", test=test)
    recipe = blobs_recipe(
        {"lr": 0.1, "test": test},
        task={"target": "odd_tasks:overlapping", "objective": {"metric": "accuracy", "mode": "max"}},
    )
    with pytest.raises(DataError, match="40 of 40 test samples are"):
        train(recipe, device="cpu")


def test_a_few_shared_samples_are_told_and_nothing_is_said_to_be_unused() -> None:
    facts = look("overlapping", test="touches")
    assert from_plain(TaskInfo, to_plain(facts)) == facts
    [overlap] = facts.overlaps
    assert (overlap.first, overlap.second, overlap.num_shared) == ("val", "test", 1)
    warnings = warnings_for(blobs_recipe(), facts, FidelitySchedule(rungs=(1,)))
    assert any("1 of 40 test samples" in warning for warning in warnings)
    assert look("overlapping").overlaps == ()
    recipe = blobs_recipe(
        {"lr": 0.1, "test": "touches"},
        task={"target": "odd_tasks:overlapping", "objective": {"metric": "accuracy", "mode": "max"}},
    )
    result = train(recipe, device="cpu", epochs=1)
    assert result.test is not None
    assert (result.test.num_shared, result.test.is_untouched) == (1, False)
    assert any("1 of 40 test samples" in warning for warning in result.warnings)


def test_what_is_said_of_a_test_score_is_what_happened() -> None:
    score = Score(metric="accuracy", value=0.9, low=None, high=None, num_samples=50)
    assert "never used" in note_of(score)
    assert "read once" in trust_of(score)
    for used in (replace(score, num_shared=3), replace(score, earlier_reads=2)):
        assert not used.is_untouched
        assert "never" not in note_of(used)
        assert "read once" not in trust_of(used)


def test_edits_of_a_task_are_named() -> None:
    before = look("overlapping")
    assert before.num_params == 4 * 5 + 2 * 5
    assert before.reference is not None
    now = replace(
        before,
        num_params=99,
        code=dict.fromkeys(before.code, "other"),
        reference=DataReference(params={}, fingerprints={**before.reference.fingerprints, "test": "0"}),
        batch_size=7,
    )
    [file] = before.code
    assert file.endswith("odd_tasks.py")
    assert code_changes(before, now) == [f"{file}: edited"]
    assert task_changes(before, now) == [
        "the task's batch size: 64 -> 7",
        "trainable parameters: 30 -> 99",
        "test data: other samples, or in another order",
    ]
    for may_be_edited in (False, True):
        with pytest.raises(DataError, match="The task has changed since this search was started") as raised:
            same_task(before, now, may_be_edited=may_be_edited)
        assert {f"  {file}: edited", "  trainable parameters: 30 -> 99"} <= set(raised.value.message.splitlines())
        assert "--allow-code-changes" not in (raised.value.hint or "")
    only_code = replace(before, code=now.code)
    with pytest.raises(DataError, match="edited") as raised:
        same_task(before, only_code, may_be_edited=False)
    assert "--allow-code-changes" in (raised.value.hint or "")
    assert same_task(before, only_code, may_be_edited=True).edited == (f"{file}: edited",)
    with pytest.raises(DataError, match="different tasks:\n  the task's batch size: 64 -> 7"):
        same_task_info([before, now])


def test_what_an_older_file_does_not_hold_is_no_change() -> None:
    now = look("overlapping")
    before = replace(now, num_params=None, reference=None, code={})
    assert same_task(before, now, may_be_edited=False) == now


def test_the_code_is_that_of_the_users_own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hashed_parts").mkdir()
    (tmp_path / "hashed_parts" / "__init__.py").write_text("")
    (tmp_path / "hashed_parts" / "data.py").write_text("def load():\n    return 1\n")
    (tmp_path / "hashed_helper.py").write_text("WIDTH = 3\n")
    (tmp_path / "hashed_unused.py").write_text("WIDTH = 4\n")
    code = "import torch, probe, hashed_helper\nfrom hashed_parts.data import load\nimport made_recipes\n"
    code += "def task():\n    return probe.Task(model=lambda: None, train=(torch.zeros(3, 2),))\n"
    (tmp_path / "hashed_task.py").write_text(code)
    load_task("hashed_task:task")
    __import__("hashed_unused")
    before = code_hashes("hashed_task:task")
    assert list(before) == ["hashed_helper.py", "hashed_parts/data.py", "hashed_task.py"]
    (tmp_path / "hashed_task.py").write_text(f"# a comment\n{code}\n\n")
    assert code_hashes("hashed_task:task") == before
    (tmp_path / "hashed_helper.py").write_text("WIDTH = 5\n")
    now = code_hashes("hashed_task:task")
    assert [file for file in before if now[file] != before[file]] == ["hashed_helper.py"]
    (tmp_path / "hashed_helper.py").write_text("WIDTH = \n")  # broken: still a hash
    assert code_hashes("hashed_task:task")["hashed_helper.py"] not in (
        before["hashed_helper.py"],
        now["hashed_helper.py"],
    )
    monkeypatch.chdir(tmp_path.parent)
    assert set(code_hashes("hashed_task:task")) == {f"{tmp_path.name}/{file}" for file in before}


TASK = """
import torch, probe
from torch.utils.data import random_split, TensorDataset

def task():
    generator = torch.Generator().manual_seed(int(open({seed!r}).read()))
    inputs = torch.randn(200, 4, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    train, val, test = random_split(TensorDataset(inputs, targets), [100, 50, 50])
    return probe.Task(model=lambda: torch.nn.Linear(4, 2), train=train, val=val, test=test,
                      metrics={{"accuracy": "accuracy"}}, optimizer="sgd", batch_size=10)
"""


def test_a_search_that_goes_on_notices_edits_and_says_that_its_test_part_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module, seed, folder = tmp_path / "edited_task.py", tmp_path / "seed.txt", tmp_path / "run"
    seed.write_text("1")
    module.write_text(TASK.format(seed=str(seed)))

    def search(trials: int, **options: Any) -> Any:
        recipe = blobs_recipe(
            {"lr": {"low": 1e-6, "high": 1.0, "log": True}},
            task={"target": "edited_task:task", "objective": {"metric": "loss", "mode": "min"}},
            search={"sampler": "random", "scheduler": "none", "fidelity": {"max": 2}},
            budget={"trials": trials},
            start=[{"lr": 1e-6}, {"lr": 0.5}],
        )
        result, error = search_outcome(recipe, device=DeviceSpec(kind="cpu"), num_workers=1, folder=folder, **options)
        assert error is None
        return result

    before = search(1)
    assert before.test is not None
    assert before.test.is_untouched

    module.write_text(TASK.format(seed=str(seed)).replace("batch_size=10", "batch_size=5 * 2"))
    with pytest.raises(DataError, match=r"edited_task(\.py)?: edited"):
        search(2, resume=True)
    module.write_text(TASK.format(seed=str(seed)).replace("Linear(4, 2)", "Linear(4, 2, bias=False)"))
    with pytest.raises(DataError, match="trainable parameters: 10 -> 8"):
        search(2, resume=True, allow_code_changes=True)

    module.write_text(TASK.format(seed=str(seed)).replace("batch_size=10", "batch_size=5 * 2"))
    result = search(2, resume=True, allow_code_changes=True)
    assert [trial.number for trial in result.trials if trial.value == result.best.value] == [1]
    assert (result.test.earlier_reads, result.test.is_untouched) == (1, False)
    assert any("edited_task" in warning for warning in result.warnings)
    text = search_page(result, [])
    assert "read once" not in text
    assert "scored once before" in text
    assert not any("never used" in str(value) for _, value in answer_lines(result))


def test_data_that_are_edited_while_a_search_runs_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    seed = tmp_path / "seed.txt"
    seed.write_text("1")
    (tmp_path / "changing_task.py").write_text(TASK.format(seed=str(seed)).replace("task()", "task(note=0)"))

    def edit(record: Any) -> None:
        if isinstance(record, TrialResult) and record.number == 1:
            seed.write_text("2")

    result, error = search_outcome(
        blobs_recipe(
            {"lr": 0.1, "note": {"choices": [1, 2, 3, 4]}},
            task={"target": "changing_task:task", "objective": {"metric": "loss", "mode": "min"}},
            search={"sampler": "grid", "scheduler": "none", "fidelity": {"max": 1}},
            budget={"trials": 4},
        ),
        device="cpu",
        num_workers=1,
        observer=edit,
    )
    assert isinstance(error, ChangedDataError)
    assert (result.stopped_by, result.final) == ("failures", None)
    assert [trial.status for trial in result.trials[:2]] == ["complete", "complete"]
    assert not any(trial.status == "failed" for trial in result.trials)
