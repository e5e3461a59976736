"""A search as a notebook runs it: everything is defined in `__main__`, of which there is no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

RECIPE = """
schema = 1
name = "cell"
[task]
objective = { metric = "accuracy", mode = "max" }
[space]
hidden = { choices = ["none", "small"] }
lr = 0.1
[search]
sampler = "grid"
scheduler = "none"
fidelity = { max = 1 }
[budget]
trials = 2
"""
CELLS = """
import json, torch, probe
from pathlib import Path

torch.manual_seed(0)
inputs, targets = torch.randn(120, 4), torch.arange(120) % 2
HIDDEN = {"none": (), "small": (4,)}

class Net(torch.nn.Module):
    def __init__(self, hidden):
        super().__init__()
        sizes = (4, *hidden, 2)
        self.layers = torch.nn.Sequential(*[torch.nn.Linear(*pair) for pair in zip(sizes, sizes[1:])])

    def forward(self, x):
        return self.layers(x)

def task(hidden="none"):
    return probe.Task(
        model=lambda: Net(HIDDEN[hidden]), train=(inputs[:90], targets[:90]), test=(inputs[90:], targets[90:]),
        metrics={"accuracy": "accuracy"}, optimizer="sgd", batch_size=30,
    )

result = probe.find_hyperparameters("cell.toml", task=task, device="cpu", num_workers=1)
print(json.dumps([result.task, [trial.status for trial in result.trials], result.test.num_samples]))
"""


def test_a_function_of_the_notebook_is_searched(tmp_path: Path) -> None:
    (tmp_path / "cell.toml").write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-"],
        input=CELLS,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["__main__:task", ["complete", "complete"], 30]
