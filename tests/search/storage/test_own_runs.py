"""The list of the searches that a user has started."""

from __future__ import annotations

import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment

from probe.errors import UsageError
from probe.search.storage import own_runs
from probe.search.storage.own_runs import check_own, new_run_id, remember, run_id_in, runs_file

NUM_PROCESSES, NUM_IDS = 6, 20
REMEMBER = f"""
from probe.search.storage.own_runs import new_run_id, remember
for _ in range({NUM_IDS}):
    run_id = new_run_id()
    remember(run_id)
    print(run_id)
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "state" / "probe" / "runs.txt"


def is_own(run_id: str | None) -> bool:
    try:
        check_own(run_id, "owntask:task", asked_for="best.toml")
    except UsageError:
        return False
    return True


def test_started_searches_are_known_and_others_are_not(file: Path) -> None:
    ids = [new_run_id() for _ in range(3)]
    assert len(set(ids)) == 3
    assert not is_own(ids[0])
    for run_id in (*ids, ids[0]):
        remember(run_id)
    assert file.read_text().split() == ids
    assert [is_own(run_id) for run_id in (*ids, new_run_id(), None, "")] == [True] * 3 + [False] * 3


def test_processes_that_start_at_the_same_time_lose_no_search(file: Path) -> None:
    command = [sys.executable, "-c", REMEMBER]
    started = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(NUM_PROCESSES)
    ]
    ids = [run_id for process in started for run_id in process.communicate()[0].split()]
    assert len(ids) == NUM_PROCESSES * NUM_IDS
    assert sorted(file.read_text().split()) == sorted(ids)


def test_only_the_newest_searches_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_runs, "MAX_RUNS", 4)
    ids = [new_run_id() for _ in range(9)]
    for run_id in ids:
        remember(run_id)
    assert file.read_text().split() == ids[-4:]


def test_a_state_folder_that_cannot_be_written_is_no_error(file: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in place of the folder")
    run_id = new_run_id()
    remember(run_id)
    assert not is_own(run_id)


def test_a_damaged_list_is_read_as_far_as_possible(file: Path) -> None:
    run_id = new_run_id()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff\xfe\x00\n" + run_id.encode() + b"\n")
    assert is_own(run_id)


def test_a_user_without_a_home_folder_has_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    run_id = new_run_id()
    remember(run_id)
    with pytest.raises(UsageError, match="home folder"):
        check_own(run_id, "owntask:task", asked_for="best.toml")


def test_the_list_is_in_the_home_folder_unless_an_absolute_path_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", given)
        monkeypatch.setenv("HOME", "/home/someone")
        assert runs_file() == Path("/home/someone/.local/state/probe/runs.txt")


def test_the_refusal_names_target_and_file_without_importing_it(tmp_path: Path) -> None:
    (tmp_path / "owntask.py").write_text("raise RuntimeError('imported')")
    with pytest.raises(UsageError) as caught:
        check_own(None, "owntask:task", asked_for="Resuming run")
    said = str(caught.value)
    assert caught.value.exit_code == 2
    for fact in ("Resuming run", "owntask:task", str(tmp_path / "owntask.py"), "--trust", str(runs_file())):
        assert fact in said
    with pytest.raises(UsageError, match="not found"):
        check_own(None, "missing.module:task", asked_for="Resuming run")


def test_the_id_in_a_recipe() -> None:
    run_id = new_run_id()
    assert re.fullmatch("[0-9a-f]{32}", run_id)
    assert run_id_in(f"# command: x\n# run:         {run_id}\n\nschema = 1\n") == run_id
    for recipe in ("schema = 1", "# run: probe search this.toml\nschema = 1", f'note = "# run: {run_id}"'):
        assert run_id_in(recipe) is None
