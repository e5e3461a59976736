"""The session for a real GPU, dry-run under the fake driver, and its stages that fail, hang or have no time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_gpus import FakeMachine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = BENCHMARKS / "gpu_session.py"
Make = Callable[..., FakeMachine]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_session", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(*args: str, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--small", "--minutes", "60", *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )


def rows(folder: Path, stage: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "session.jsonl").read_text().splitlines()]
    return [line["row"] for line in lines if line.get("stage") == stage and "row" in line]


def test_a_dry_run_of_the_facts_of_a_device(fake_machine: Make, tmp_path: Path) -> None:
    stages = "facts,conformance,errors,edge,agreement"
    done = run_script("--stages", stages, "--out", "out", env=fake_machine(mib=2048).env, cwd=tmp_path)
    assert done.stdout.split("\n") == [*(f"{stage}: complete" for stage in stages.split(",")), ""], done.stderr
    out = tmp_path / "out"
    assert [path.name for path in sorted(out.iterdir())] == ["session.jsonl", "session.md"]
    growth = {row["after"]: row for row in rows(out, "facts") if "after" in row}
    assert growth["one value"]["newly_outside_bytes"] == 450 * 2**20  # the fake driver's context
    assert growth["matrix product, fp32 (cuBLAS)"]["newly_kept_allocated_bytes"] > 2**20
    assert all(row["kept"] for row in rows(out, "conformance"))
    errors = [row for row in rows(out, "errors") if "error" in row]
    assert [row["means"] for row in errors] == [row["expected"] for row in errors]
    assert [row["works_afterwards"] for row in errors] == [True, True, False]
    (edge,) = rows(out, "edge")
    assert (edge["an_epoch_with_it"], edge["twice_as_much"]) == ("fits", "out of memory")
    assert all("problem" not in row for row in rows(out, "agreement"))
    page = (out / "session.md").read_text()
    assert "# A session on Fake GPU" in page
    assert "Dry run under the fake driver" in page
    assert "Not meaningful under the fake driver: losses" in page


def test_a_dry_run_of_what_probe_does_with_it(fake_machine: Make, tmp_path: Path) -> None:
    stages = "predictions,throughput,small_networks,precisions,learning_rates,sharing"
    done = run_script(
        "--stages", stages, "--out", "out", "--markdown", "page.md", env=fake_machine(mib=4096).env, cwd=tmp_path
    )
    assert done.stdout.split("\n") == [*(f"{stage}: complete" for stage in stages.split(",")), ""], done.stderr
    found = {stage: rows(tmp_path / "out", stage) for stage in stages.split(",")}
    assert [stage for stage, its in found.items() if not its or any(row.get("problem") for row in its)] == []
    assert [row["found"] for row in found["predictions"]] == [
        row["found"] for row in found["predictions"] if row["found"]
    ]
    assert all(row["probe_launches"] > 0 for row in found["small_networks"])
    assert [(row["workers"], row["trained"]) for row in found["sharing"]] == [(2, 2)]
    assert (tmp_path / "page.md").read_text() == (tmp_path / "out" / "session.md").read_text()


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = run_script("--out", "out", env={"CUDA_VISIBLE_DEVICES": ""}, cwd=tmp_path)
    assert (done.returncode, "There is no cuda:0 here" in done.stderr) == (4, True)


MADE_STAGES = {
    "works": "session.measure('Cases', [{'case': 1}, {'case': 2}], lambda case: {'twice': 2 * case})",
    "fails": "session.add('Cases', case=1); raise ValueError('on purpose')",
    "hangs": "session.add('Cases', case=1); time.sleep(10_000)",
}


def test_a_stage_that_fails_or_hangs_does_not_end_the_others(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in MADE_STAGES.items():
        (tmp_path / f"made_{name}.py").write_text(f"import time\ndef run(session):\n    {code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(script, "GRACE_SECONDS", 1)
    record, options = tmp_path / "session.jsonl", Namespace(minutes=60, device="cuda:0", small=True)
    assert script.run_process("made_hangs", record, options, seconds=3)["status"] == "stopped at its limit"
    assert [line["row"] for line in script.read_lines(record)] == [{"case": 1}]

    stages = [script.Stage(module=f"made_{name}", title=name, share=1) for name in ("fails", "works")]
    stages.append(script.Stage(module="made_needy", title="needy", share=1, needs=("no_such_package",)))
    failed, needy = "made_fails: failed with exit code 1", "made_needy: skipped: no_such_package not installed"
    assert list(script.run_stages(stages, record, options)) == [failed, "made_works: complete", needy]
    text = script.page(script.read_lines(record), stages)
    assert "ValueError: on purpose" in text
    assert "| 2 | 4 |" in text
    assert list(script.run_stages(stages, record, options)) == [failed, needy]  # what is complete does not run again


def test_a_stage_continues_after_its_last_row_and_ends_with_its_time(script: ModuleType, tmp_path: Path) -> None:
    from gpu_session_stages.session import Session

    record = tmp_path / "session.jsonl"

    def measured(seconds: float) -> tuple[list[int], bool]:
        called: list[int] = []
        session = Session(stage="some", record=record, device="cuda:0", seconds=seconds)

        def row_of(case: int) -> dict[str, None]:
            called.append(case)
            return {"problem": None}

        session.measure("Cases", [{"case": 1}, {"case": 2}], row_of)
        return called, session.out_of_time

    assert measured(-1) == ([], True)
    with record.open("a") as file:
        file.write('{"stage": "some", "tab')  # cut off in the middle of a line
    assert measured(1000) == ([1, 2], False)
    assert measured(1000) == ([], False)
    assert [line["note"] for line in script.read_lines(record) if "note" in line] == [
        "Not measured for want of time: 1; 2."
    ]
