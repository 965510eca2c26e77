"""Pages that say what the code says: made pages are up to date, examples load, links lead somewhere."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import einfluence
from einfluence.objectives.image_class import LAYERS, build_classifier
from einfluence.spec import AdamW, Lora, Recipe, load_spec

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "data").rglob("*.md")]
)


def builder() -> Any:
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_made_pages_are_up_to_date() -> None:
    for path, text in builder().pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_site_leads_to_every_page_and_names_no_other() -> None:
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert [page for page in named if not (ROOT / page).is_file()] == []
    assert len(named) == len(set(named)), "a page twice"
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages - set(named) == set(), "pages that the navigation in mkdocs.yml lacks"


def test_what_the_page_on_python_names_can_be_imported() -> None:
    named = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    places = {name: name.rpartition(".") for name in named}
    assert [
        name for name, (module, _, what) in places.items() if not hasattr(importlib.import_module(module), what)
    ] == []
    assert set(einfluence.__all__) <= {what for _, _, what in places.values()}, "the page leaves out what is public"


def test_every_command_is_told_in_the_readme_or_a_page_that_it_links() -> None:
    from flows.cli import app

    told = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert [name for name in names if f"einfluence {name}" not in told] == []


def test_the_readmes_two_commands_are_targets_of_the_makefile() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    for command in ("make demo", "make test"):
        assert command in readme and f"\n{command.removeprefix('make ')}: install\n" in makefile


def test_the_readmes_spec_loads(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "spec.yaml").write_text(example[1])
    assert len(load_spec(tmp_path / "spec.yaml").parts[0].arms) == 2


def test_the_shipped_specs_load() -> None:
    specs = [*(ROOT / "data" / "specs").glob("*.yaml"), ROOT / "data" / "init" / "spec.yaml"]
    assert all(load_spec(path).parts for path in specs) and len(specs) >= 2


def test_the_page_on_bases_names_every_field_and_layer() -> None:
    page = (ROOT / "docs" / "bases.md").read_text()
    recipe = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    config = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert recipe is not None and config is not None
    fields = yaml.safe_load(recipe[1])["recipe"]
    assert set(fields) == set(Recipe.model_fields)
    assert (set(fields["adapter"]), set(fields["optimizer"])) == (set(Lora.model_fields), set(AdamW.model_fields))
    assert Recipe.model_validate(fields) == Recipe()
    build_classifier(json.loads(config[1]), "docs")
    assert all(layer in page for layer in LAYERS)


def test_the_picture_of_the_concepts_shows_the_numbers_of_the_first_tutorial() -> None:
    from docs.draw_concepts import drawn, measured

    assert (ROOT / "docs" / "concepts.svg").read_text(encoding="utf-8") == drawn()
    assert [kind for *_, kind in measured()][:3] == ["paraphrase", "self", "negation"] and "+2.28" in drawn()
