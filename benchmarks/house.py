"""Measures the shape of the code: `python benchmarks/house.py [REVISION ...]`.

Prints a Markdown table for the working tree, or for git revisions side by side.

`--coverage [FOLDER ...]` instead measures the branch coverage of the pure modules, which an import contract in pyproject.toml
lists, by the tests of the same names, and fails below 95 %. A FOLDER such as `recipe` or `batch/prediction` selects some.
"""

from __future__ import annotations

import argparse
import ast
import json
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_FILES, MOST_LINES, MOST_PARAMETERS = 15, 60, 8
LEAST_COVERAGE = 95.0
"""Minimum percentage of the branches of all pure modules that their tests take."""
SLOW_TESTS = (
    "test_batch_predict.py",
    "test_batch_predict_kinds.py",
    "test_batch_predict_options.py",
    "test_own_data_recipes.py",
    "test_recipe_runs.py",
    "test_strategy_recipes.py",
    "test_text_recipes.py",
)
"""Tests that train or trace, and are left out of the measurement of coverage."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs="*", help="git revisions; the working tree by default")
    parser.add_argument("--list", action="store_true", help="name the functions, folders and circles that are counted")
    parser.add_argument("--coverage", nargs="*", metavar="FOLDER", help="branch coverage of the pure modules")
    options = parser.parse_args()
    if options.coverage is not None:
        sys.exit(measure_coverage(options.coverage))
    columns: dict[str, dict[str, str]] = {}
    for revision in options.revisions or [""]:
        with tempfile.TemporaryDirectory() as folder:
            tree = ROOT
            if revision:
                tree = Path(folder)
                archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True)
                subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
            columns[revision or "working tree"] = measure(tree, listed=options.list)
    names = list(columns)
    print(f"| | {' | '.join(names)} |\n|---|{'--:|' * len(names)}")
    for row in columns[names[0]]:
        print(f"| {row} | {' | '.join(columns[name][row] for name in names)} |")


def measure(tree: Path, *, listed: bool = False) -> dict[str, str]:
    """The rows of the table for the checkout in `tree`."""
    files = sorted((tree / "probe").rglob("*.py"))
    sizes = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
    modules = {module_name(path, tree): path for path in files}
    parsed = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    edges = {name: imported(tree_of, name, modules) for name, tree_of in parsed.items()}
    crowded = [
        str(folder.relative_to(tree))
        for folder in {path.parent for path in files}
        if len(list(folder.glob("*.py"))) > MOST_FILES
    ]
    functions = [(name, node) for name, tree_of in parsed.items() for node in functions_of(tree_of)]
    long = [f"{name}.{node.name}" for name, node in functions if num_lines(node) > MOST_LINES]
    wide = [f"{name}.{node.name}" for name, node in functions if num_parameters(node) > MOST_PARAMETERS]
    circles = find_circles(edges)
    rooms = find_circles(between_rooms(edges))
    if listed:
        found: dict[str, Sequence[object]] = {
            "folders": crowded,
            "long": long,
            "parameters": wide,
            "circles": circles,
            "rooms": rooms,
        }
        for title, items in found.items():
            print(f"{title}: {', '.join(str(item) for item in items) or 'none'}", file=sys.stderr)
    return {
        "files in probe/": f"{len(files)}",
        "lines in probe/": f"{sum(sizes):,}",
        "median / largest file": f"{statistics.median(sizes):.0f} / {max(sizes)}",
        f"folders with more than {MOST_FILES} files": f"{len(crowded)}",
        f"functions over {MOST_LINES} lines": f"{len(long)}",
        f"functions over {MOST_PARAMETERS} parameters": f"{len(wide)}",
        "import circles between modules, lazy and typing imports included": f"{len(circles)}",
        "import circles between the folders of probe/": f"{len(rooms)}",
        "words in README.md": f"{num_words(tree / 'README.md'):,}",
        "words in CONTRIBUTING.md": f"{num_words(tree / 'CONTRIBUTING.md'):,}",
    }


def module_name(path: Path, tree: Path) -> str:
    parts = path.relative_to(tree).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def num_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def num_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters of a function, without self and cls."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def imported(tree: ast.AST, name: str, modules: Mapping[str, Path]) -> set[str]:
    """The modules of probe that `name` imports, also inside functions and for type checkers only."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                full if (full := f"{node.module}.{alias.name}") in modules else node.module for alias in node.names
            }
    return {target for target in found if target in modules and target != name}


def between_rooms(edges: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Imports between the folders and modules directly below probe/."""
    rooms: dict[str, set[str]] = {}
    for name, targets in edges.items():
        parts = name.split(".")
        if len(parts) > 1:
            reached = {target.split(".")[1] for target in targets if "." in target}
            rooms.setdefault(parts[1], set()).update(reached - {parts[1]})
    return rooms


def find_circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Strongly connected components of two nodes or more (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in edges.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            start = stack.index(node)
            if len(stack) - start > 1:
                circles.append(sorted(stack[start:]))
            del stack[start:]

    sys.setrecursionlimit(10_000)
    for node in edges:
        if node not in index:
            visit(node)
    return circles


def num_words(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").split()) if path.exists() else 0


def pure_modules() -> list[str]:
    """The modules and folders of the contract of purity in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return next(list(one["source_modules"]) for one in contracts if "pure" in one["name"])


def measure_coverage(folders: Sequence[str]) -> int:
    """Run the tests of the pure modules in `folders` (all by default) and print their coverage; 0 if it is sufficient."""
    chosen = [name for name in pure_modules() if not folders or any(wanted(name, folder) for folder in folders)]
    tests = sorted({str(path) for name in chosen for path in tests_of(name)})
    with tempfile.TemporaryDirectory() as folder:
        settings, found = Path(folder) / "coveragerc", Path(folder) / "coverage.json"
        omitted = "\n    ".join(("if TYPE_CHECKING", "@overload", r"^\s*\.\.\.$"))
        settings.write_text(f"[run]\ndata_file = {folder}/data\n[report]\nexclude_also =\n    {omitted}\n")
        options = ["--cov-branch", f"--cov-config={settings}", f"--cov-report=json:{found}", "-m", "not ray"]
        options += [f"--ignore-glob=*/{name}" for name in SLOW_TESTS]
        sources = [f"--cov={name}" for name in chosen]
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "--cov-report=term-missing:skip-covered", *options, *sources, *tests],
            cwd=ROOT,
            check=False,
        ).returncode
        if not found.exists():
            return code
        files = json.loads(found.read_text(encoding="utf-8"))["files"]
    rows: dict[str, Counter[str]] = {}
    for name in chosen:
        path = name.replace(".", "/")
        row = path if (ROOT / path).is_dir() else str(Path(path).parent)
        for file, entry in files.items():
            if file == f"{path}.py" or file.startswith(f"{path}/"):
                rows.setdefault(row, Counter()).update(
                    num_lines=entry["summary"]["num_statements"],
                    covered_lines=entry["summary"]["covered_lines"],
                    num_branches=entry["summary"]["num_branches"],
                    covered_branches=entry["summary"]["covered_branches"],
                )
    rows["all"] = sum(rows.values(), Counter())
    print("| pure modules of | lines | covered | branches | covered |\n|---|--:|--:|--:|--:|")
    for row, counts in rows.items():
        lines, branches = (percent(counts, kind) for kind in ("lines", "branches"))
        print(f"| {row} | {counts['num_lines']:,} | {lines:.1f} % | {counts['num_branches']:,} | {branches:.1f} % |")
    return code or int(percent(rows["all"], "branches") < LEAST_COVERAGE)


def percent(counts: Mapping[str, int], kind: str) -> float:
    return 100 * counts[f"covered_{kind}"] / counts[f"num_{kind}"] if counts[f"num_{kind}"] else 100.0


def tests_of(name: str) -> Iterator[Path]:
    """The tests of a pure folder, or those whose file is named after a pure module."""
    path = Path("tests", *name.split(".")[1:])
    if (ROOT / path).is_dir():
        yield path
    else:
        found = (ROOT / path.parent).glob(f"test_*{path.name}*.py")
        yield from (file.relative_to(ROOT) for file in found if file.name not in SLOW_TESTS)


def wanted(module: str, folder: str) -> bool:
    name = f"probe.{folder.strip('/').removeprefix('probe/').replace('/', '.')}"
    return module == name or module.startswith(f"{name}.")


if __name__ == "__main__":
    main()
