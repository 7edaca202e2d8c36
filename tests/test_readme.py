"""The README's tree names every module, and every make target it mentions exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_tree_names_every_module_and_no_other() -> None:
    tree = README.partition("## The tree")[2].partition("## Licence")[0]
    named = set(re.findall(r"[\w/]+\.py", tree))
    modules = {
        path
        for package in ("shared", "services", "gateway", "training")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {path.name for path in modules} == {name.rpartition("/")[2] for name in named}


def test_targets_that_are_mentioned_exist() -> None:
    documents = [README, *((ROOT / name).read_text() for name in ("CONTRIBUTING.md", ".ci/run"))]
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in documents:
        mentioned = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
        assert mentioned
        assert mentioned <= targets


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)h#][^)]*)\)", README):
        assert (ROOT / target).exists(), target
