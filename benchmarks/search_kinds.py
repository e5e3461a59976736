"""What happens in a search when a task, a recipe or a user does what people do: one small search a kind, and what must happen.

    python benchmarks/search_kinds.py [--kinds NAME ...] [--before PROBE] [--markdown FILE]

Every kind is a task and a recipe in a folder of its own, run as a user would, by the command `probe search`; one is run twice,
with an edit in between. `--before` names the `probe` command of another version, which is asked the same.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_SECONDS = 90
HEAD = "import torch, probe\nfrom torch import nn\ng = torch.Generator().manual_seed(0)\n"
DATA = HEAD + "X = torch.randn(400, 10, generator=g); Y = (X[:, :2].sum(1) > 0).long()\n"
NET = "nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, 2))"
PARTS = "train=(X[:300], Y[:300]), test=(X[300:], Y[300:])"


@dataclass(frozen=True)
class Run:
    """What one command did."""

    code: int | None
    """None: it had to be ended after MAX_SECONDS."""
    screen: str
    stdout: str
    result: dict[str, Any]
    """result.json; empty where there is none."""
    folder: Path
    seconds: float

    @property
    def trials(self) -> list[dict[str, Any]]:
        return list(self.result.get("trials", []))

    @property
    def text(self) -> str:
        """The screen without the breaks of its lines."""
        return " ".join(self.screen.split())

    def count(self, *statuses: str) -> int:
        return sum(trial["status"] in statuses for trial in self.trials)

    @property
    def message(self) -> str:
        """The first line that says what is wrong."""
        lines = [line.strip() for line in self.screen.splitlines() if line.strip()]
        return next(
            (line for line in lines if line.lower().startswith(("error", "probe has"))), lines[-1] if lines else ""
        )

    @property
    def report(self) -> str:
        found = self.folder / "out" / "report.md"
        return found.read_text() if found.exists() else ""


Verdict = tuple[bool, str]
"""Whether what must happen happened, and what did, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    name: str
    must: str
    task: str
    judge: Callable[[Run], Verdict]
    space: str = "width = { choices = [8, 16, 32] }\nlr = { low = 1e-3, high = 0.3, log = true }"
    search: str = 'sampler = "random"\nscheduler = "none"\nfidelity = { min = 2, max = 2 }'
    budget: str = "trials = 6"
    metric: str = 'metric = "accuracy", mode = "max"'
    options: tuple[str, ...] = ("--workers", "1")
    edit: Callable[[str], str] | None = None
    """The task's code changed after the first run, which is then resumed with `resume_options`."""
    resume_options: tuple[str, ...] = ()


def task(body: str, *, head: str = DATA, keywords: str = "width: int = 16") -> str:
    return f"{head}def task({keywords}) -> probe.Task:\n    {body}\n"


def plain(extra: str = "", **changes: str) -> str:
    options = ", ".join(
        filter(None, [PARTS, 'metrics={"accuracy": "accuracy"}, optimizer="adam", batch_size=32', extra])
    )
    return task(f"return probe.Task(model=lambda: {NET}, {options})", **changes)


def refused(*words: str) -> Callable[[Run], Verdict]:
    """Ended with an error that holds one of `words`, before any trial."""

    def judge(run: Run) -> Verdict:
        named = any(word in run.text for word in words)
        done = run.code not in (0, 1, None) and not run.trials and named
        return done, f"refused: {run.message}" if done else ended(run)

    return judge


def ended(run: Run) -> str:
    if run.code is None:
        return f"no end after {run.seconds:.0f} s"
    statuses = sorted({trial["status"] for trial in run.trials})
    counts = ", ".join(f"{run.count(status)} {status}" for status in statuses)
    return f"exit code {run.code}; {counts or 'no trials'}"


def no_trial_lost(run: Run) -> Verdict:
    lost = run.count("failed", "diverged", "crashed")
    return run.code == 0 and not lost, ended(run)


def about_chance(run: Run) -> Verdict:
    value = (run.result.get("best") or {}).get("value")
    if value is None:
        return run.code not in (0, None) and "split" in run.screen, ended(run)
    return value < 0.65, f"best validation accuracy {100 * value:.1f} %"


def ends(run: Run) -> Verdict:
    return (
        run.code is not None and run.seconds < MAX_SECONDS,
        f"{ended(run)} in {len(run.trials)} trials, {run.seconds:.0f} s",
    )


def probes_within_a_tenth(run: Run) -> Verdict:
    spent = run.result.get("spent") or {}
    epochs = spent.get("probe_epochs", 0)
    return epochs <= 0.5 + 1e-9 and len(run.trials) > 0, f"probes {epochs:.2f} of 5 epochs; {ended(run)}"


def can_continue(run: Run) -> Verdict:
    return run.code == 0 and len(run.trials) == 40, f"{len(run.trials)} of 40 trials; {ended(run)}"


def tied(run: Run) -> Verdict:
    found = re.search(r"(\d+) other (?:complete )?trials? ties?", run.text)
    number = int(found.group(1)) if found else 0
    return number >= 4, f"{number} other trials reported as tied"


def silent_importance(run: Run) -> Verdict:
    claims = run.result.get("importance")
    return run.code == 0 and not claims, f"importance of {', '.join(claims)}" if claims else "no claim"


def says_what_changed(run: Run) -> Verdict:
    named = "mytask" in run.screen and "changed" in run.screen
    return named, f"exit code {run.code}; {'names mytask.py' if named else 'mixed without a word'}"


def warns_of_the_mode(run: Run) -> Verdict:
    found = re.search(r"[^.]*accuracy[^.]*mode[^.]*", run.text)
    return run.code == 0 and found is not None, "warned" if found else "no warning"


def pure_json(run: Run) -> Verdict:
    try:
        json.loads(run.stdout)
    except ValueError:
        return False, f"stdout begins with {run.stdout[:30]!r}"
    return True, "stdout is JSON"


def whole_reason(run: Run) -> Verdict:
    csv = run.folder / "out" / "trials.csv"
    text = csv.read_text() if csv.exists() else ""
    found = "17 is not a multiple of 5" in text
    return (
        found and "17 is not a multiple of 5" in run.text,
        f"{'in' if found else 'not in'} trials.csv; {ended(run)}",
    )


KINDS: tuple[Kind, ...] = (
    Kind(
        name="an auxiliary metric is NaN in some epochs",
        must="no trial is lost",
        task=DATA
        + """
def precision(outputs, targets):
    found = outputs.argmax(1) == 1
    return (targets[found] == 1).float().mean() if found.sum() > 150 else torch.tensor(float("nan"))
"""
        + plain(head="").replace('"accuracy": "accuracy"', '"accuracy": "accuracy", "precision": precision'),
        judge=no_trial_lost,
    ),
    Kind(
        name="random_split without a generator, labels are coin flips",
        must="about 50 % in validation",
        task=task(
            "train, val, test = torch.utils.data.random_split(torch.utils.data.TensorDataset(X, Z), [240, 80, 80])\n"
            f"    return probe.Task(model=lambda: {NET}, train=train, val=val, test=test, "
            'metrics={"accuracy": "accuracy"}, optimizer="adam", batch_size=32)',
            head=DATA + "Z = torch.randint(0, 2, (400,), generator=g)\n",
        ),
        space="width = { choices = [256, 512] }\nlr = { low = 3e-3, high = 3e-2, log = true }",
        search='sampler = "random"\nscheduler = "asha"\nfidelity = { min = 10, max = 90, factor = 3 }',
        judge=about_chance,
    ),
    Kind(
        name="the test part is the validation part",
        must="refused before anything is spent",
        task=plain("val=(X[300:], Y[300:])"),
        judge=refused("same samples", "share"),
    ),
    Kind(
        name="the test part is a piece of the training part",
        must="refused before anything is spent",
        task=plain().replace("test=(X[300:], Y[300:])", "test=(X[:100], Y[:100])"),
        judge=refused("same samples", "share"),
    ),
    Kind(
        name="the task's file is edited, then --resume",
        must="the change is named",
        task=plain(),
        edit=lambda code: code.replace("nn.ReLU()", "nn.Tanh()"),
        resume_options=("--trials", "8"),
        judge=says_what_changed,
    ),
    Kind(
        name="combinations that the model refuses",
        must="the search goes on",
        task=DATA
        + """
Z = X.reshape(400, 5, 2).repeat(1, 1, 5)
class Net(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.into, self.out = nn.Linear(10, dim), nn.Linear(dim, 2)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
    def forward(self, inputs):
        x = self.into(inputs)
        return self.out(self.attention(x, x, x)[0].mean(1))
def task(dim: int = 16, heads: int = 4) -> probe.Task:
    return probe.Task(model=lambda: Net(dim, heads), train=(Z[:300], Y[:300]), metrics={"accuracy": "accuracy"})
""",
        space="dim = { low = 8, high = 32 }\nheads = { low = 1, high = 6 }\nlr = { low = 1e-4, high = 1e-2, log = true }",
        search='sampler = "tpe"\nscheduler = "none"\nseed = 1\nfidelity = { min = 1, max = 1 }',
        budget="trials = 40",
        judge=can_continue,
    ),
    Kind(
        name="the reason of a failed trial has several lines",
        must="its last line is on screen and in trials.csv",
        task=task(
            "if width == 17: raise ValueError('The width does not suit the heads.\\n17 is not a multiple of 5')\n"
            f'    return probe.Task(model=lambda: {NET}, {PARTS}, metrics={{"accuracy": "accuracy"}}, optimizer="adam")'
        ),
        space="width = { choices = [8, 17] }\nlr = { choices = [0.01, 0.1] }",
        search='sampler = "grid"\nscheduler = "none"\nfidelity = { min = 1, max = 1 }',
        budget="trials = 4",
        judge=whole_reason,
    ),
    Kind(
        name="the task's own optimizer ignores lr",
        must="refused before anything is spent",
        task=task(
            "torch.manual_seed(0)\n    def make(params, **_):\n        return torch.optim.SGD(params, lr=1e-3)\n"
            f"    return probe.Task(model=lambda: nn.Linear(10, 2), {PARTS}, "
            'metrics={"accuracy": "accuracy"}, optimizer=make)',
            keywords="",
        ),
        space="lr = { choices = [1e-6, 1e-3, 1e-1, 1.0] }",
        judge=refused("lr"),
    ),
    Kind(
        name="a metric is called loss",
        must="refused before anything is spent",
        task=plain().replace('"accuracy": "accuracy"', '"loss": "accuracy"'),
        metric='metric = "loss", mode = "min"',
        judge=refused("loss"),
    ),
    Kind(
        name="accuracy is to be minimized",
        must="a warning",
        task=plain(),
        metric='metric = "accuracy", mode = "min"',
        judge=warns_of_the_mode,
    ),
    Kind(
        name="momentum for an optimizer of the task's own",
        must="refused before anything is spent",
        task=plain().replace('optimizer="adam"', "optimizer=lambda params, lr: torch.optim.Adam(params, lr=lr)"),
        space="momentum = { low = 0.5, high = 0.9 }\nlr = { low = 1e-3, high = 0.1, log = true }",
        judge=refused("momentum"),
    ),
    Kind(
        name="every trial runs out of memory, the budget is in epochs",
        must="it ends",
        task=plain(),
        space="width = { choices = [200000, 300000] }\nlr = { low = 1e-3, high = 0.3, log = true }",
        search='sampler = "random"\nscheduler = "none"\nfidelity = { min = 1, max = 1 }',
        budget="epochs = 2",
        options=("--workers", "1", "--device", "simulated:8MiB"),
        judge=ends,
    ),
    Kind(
        name="probes on a budget of 5 epochs",
        must="at most a tenth of it, and trials",
        task=plain(),
        space='batch_size = { probe = "max_batch", max = 64 }\nlr = { probe = "range_test" }\n'
        "width = { choices = [8, 16, 32] }",
        search='scheduler = "asha"\nfidelity = { min = 1, max = 9, factor = 3 }',
        budget="epochs = 5",
        judge=probes_within_a_tenth,
    ),
    Kind(
        name="a trial changes the default type and the folder",
        must="the next trials do not notice",
        task="import os\n"
        + task(
            "if width == 8: torch.set_default_dtype(torch.float64); os.chdir('/')\n"
            f"    return probe.Task(model=lambda: {NET}, "
            'train=(X[:300], Y[:300]), metrics={"accuracy": "accuracy"}, optimizer="adam", '
            "loss=(lambda o, y: nn.functional.cross_entropy(o, y) if o.dtype == torch.float32 or width == 8 else 1 / 0))"
        ).replace("X[:300]", "X[:300].to(torch.get_default_dtype())"),
        space="width = { choices = [8, 16] }\nlr = { choices = [0.01, 0.1] }",
        search='sampler = "grid"\nscheduler = "none"\nfidelity = { min = 1, max = 1 }',
        budget="trials = 4",
        judge=no_trial_lost,
    ),
    Kind(
        name="a trial fails once, by chance",
        must="it is tried again",
        task="import os\n"
        + task(
            "if width == 16 and not os.path.exists('tried'):\n        open('tried', 'w').close(); raise RuntimeError('flaky')\n"
            f'    return probe.Task(model=lambda: {NET}, {PARTS}, metrics={{"accuracy": "accuracy"}}, optimizer="adam")',
            keywords="width: int = 8",
        ),
        space="width = { choices = [8, 16] }\nlr = { choices = [0.01] }",
        search='sampler = "grid"\nscheduler = "none"\nfidelity = { min = 1, max = 1 }',
        budget="trials = 2",
        judge=no_trial_lost,
    ),
    Kind(
        name="trials that 40 validation samples cannot tell apart",
        must="they are reported as tied",
        task=task(
            f"return probe.Task(model=lambda: {NET}, train=(X[:200], Z[:200]), val=(X[200:240], Z[200:240]), "
            'metrics={"accuracy": "accuracy"}, optimizer="adam", batch_size=32)',
            head=DATA + "Z = (X[:, :2].sum(1) + 0.7 * torch.randn(400, generator=g) > 0).long()\n",
        ),
        search='sampler = "random"\nscheduler = "none"\nfidelity = { min = 5, max = 5 }',
        budget="trials = 9",
        judge=tied,
    ),
    Kind(
        name="hyperparameters that change nothing",
        must="no claim that one matters",
        task=task(
            'return probe.Task(model=lambda: nn.Linear(10, 2), train=(X, Z), metrics={"accuracy": "accuracy"}, batch_size=400)',
            head=DATA + "Z = torch.randint(0, 2, (400,), generator=g)\n",
            keywords="a=0.5, b=0.5, c=1",
        ),
        space="a = { low = 0.0, high = 1.0 }\nb = { low = 0.0, high = 1.0 }\nc = { choices = [1, 2, 3] }\nlr = 0.001",
        search='sampler = "random"\nscheduler = "none"\nfidelity = { min = 1, max = 1 }',
        budget="trials = 20",
        metric='metric = "loss", mode = "min"',
        judge=silent_importance,
    ),
    Kind(
        name="the task prints, and --json - is asked for",
        must="stdout is JSON",
        task=f"print('hello from the module')\n{plain()}".replace(
            "    return", "    print('hello from the task')\n    return"
        ),
        budget="trials = 2",
        options=("--workers", "1", "--json", "-"),
        judge=pure_json,
    ),
    Kind(
        name="the task's module parses the command line when it is imported",
        must="told as what it is",
        task=f"import argparse\nargparse.ArgumentParser().parse_args()\n{plain()}",
        judge=refused("__main__", "parses the command line", "sys.exit"),
    ),
    Kind(
        name="choices that are lists",
        must="refused, and how it is done",
        task=plain(keywords="width=8, layers=None"),
        space="layers = { choices = [[8, 8], [16]] }\nlr = 0.01",
        judge=refused("each choice a name", "name each choice"),
    ),
    Kind(
        name="a range with a step",
        must="only its values are drawn",
        task=plain(),
        space="width = { low = 8, high = 64, step = 8 }\nlr = { low = 1e-3, high = 0.3, log = true }",
        judge=lambda run: (
            run.code == 0 and all(trial["params"]["width"] % 8 == 0 for trial in run.trials),
            f"widths {sorted({trial['params']['width'] for trial in run.trials})}" if run.trials else ended(run),
        ),
    ),
    Kind(
        name="conditions on several choices and on numbers",
        must="accepted",
        task=plain(keywords="width: int = 16, layers: int = 1, skip: float = 0.0"),
        space='optimizer = { choices = ["sgd", "nesterov", "adam"] }\n'
        'momentum = { low = 0.5, high = 0.9, when = { optimizer = ["sgd", "nesterov"] } }\n'
        "layers = { low = 1, high = 4 }\nskip = { low = 0.1, high = 0.5, when = { layers = { min = 2 } } }\nlr = 0.01",
        judge=lambda run: (
            run.code == 0
            and all(("momentum" in t["params"]) == (t["params"]["optimizer"] != "adam") for t in run.trials)
            and all(("skip" in t["params"]) == (t["params"]["layers"] >= 2) for t in run.trials),
            ended(run) if run.code == 0 else run.message,
        ),
    ),
)


# --- running --------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    kind: Kind
    before: Verdict | None = None
    after: Verdict | None = None
    notes: list[str] = field(default_factory=list)


def recipe(kind: Kind) -> str:
    return (
        f'schema = 1\nname = "kind"\n[task]\ntarget = "mytask:task"\nobjective = {{ {kind.metric} }}\n'
        f"[space]\n{kind.space}\n[search]\n{kind.search}\n[budget]\n{kind.budget}\n"
    )


def run_kind(kind: Kind, command: str) -> Verdict:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mytask.py").write_text(kind.task)
        (folder / "kind.toml").write_text(recipe(kind))
        run = run_probe(folder, command, kind.options)
        if kind.edit is not None:
            (folder / "mytask.py").write_text(kind.edit(kind.task))
            run = run_probe(folder, command, (*kind.options, "--resume", *kind.resume_options))
        return kind.judge(run)


def run_probe(folder: Path, command: str, options: tuple[str, ...]) -> Run:
    started = time.perf_counter()
    call = [command, "search", "kind.toml", "--out", "out", *options]
    with subprocess.Popen(
        call, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=MAX_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            code = None
        else:
            code = process.returncode
    found = folder / "out" / "result.json"
    result = json.loads(found.read_text()) if found.exists() else {}
    seconds = time.perf_counter() - started
    return Run(code, " ".join((stdout + stderr).split("\r")), stdout, result, folder, seconds)


def table(rows: list[Row]) -> str:
    has_before = any(row.before is not None for row in rows)
    header = ["kind", "what must happen", *(["before"] if has_before else []), "now"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [row.kind.name, row.kind.must, *(verdict_text(v) for v in (row.before, row.after) if v is not None)]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    good = sum(row.after is not None and row.after[0] for row in rows)
    return "\n".join([*lines, "", f"{good} of {len(rows)} kinds as they must be.", ""])


def verdict_text(verdict: Verdict) -> str:
    return f"{'' if verdict[0] else '**no:** '}{verdict[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", help="those whose names hold one of these words; by default, all")
    parser.add_argument("--probe", default=str(Path(sys.executable).parent / "probe"), help="the command to ask")
    parser.add_argument("--before", help="the command of another version, asked as well")
    parser.add_argument("--markdown", type=Path, help="write the table into this file")
    options = parser.parse_args()
    rows = []
    for kind in KINDS:
        if options.kinds and not any(word in kind.name for word in options.kinds):
            continue
        row = Row(kind, run_kind(kind, options.before) if options.before else None, run_kind(kind, options.probe))
        rows.append(row)
        print(
            kind.name, "|", *(verdict_text(v) for v in (row.before, row.after) if v is not None), sep="  ", flush=True
        )
    text = table(rows)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(f"# What people do to a search\n\n`python benchmarks/search_kinds.py`\n\n{text}")


if __name__ == "__main__":
    main()
