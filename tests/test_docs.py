"""The generated pages are up to date, every key is described, and links between pages lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"])


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["recipe.md", "json.md", "commands.md"])
def test_a_generated_page_is_up_to_date(generate: ModuleType, name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == generate.PAGES[name](), "run python docs/generate.py"


def test_every_key_of_a_recipe_has_a_description() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", (ROOT / "docs" / "recipe.md").read_text(), flags=re.MULTILINE)
    assert len(rows) > 60
    assert [key for key, description in rows if not description] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/design/rooms.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    names = set(re.findall(r"`((?:[\w*]+/)*[\w*]+\.(?:py|md|toml))`", (ROOT / page).read_text(encoding="utf-8")))
    homes = (ROOT, ROOT / "probe", ROOT / "probe" / "batch" / "prediction", ROOT / "probe" / "report" / "search")
    assert sorted(name for name in names if not any(any(home.glob(name)) for home in homes)) == []
