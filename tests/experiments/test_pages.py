"""The pages below docs/ say what their programs say of themselves: title and docstring."""

import inspect
from pathlib import Path

import pytest

from experiments import benchmark, studies

DOCS = Path(__file__).parents[2] / "docs"
BENCHMARKS = benchmark.registry()
STUDIES = studies.registry()


@pytest.mark.parametrize("page", sorted((DOCS / "benchmarks").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_of_a_benchmark_begins_with_its_docstring(page):
    module = BENCHMARKS[page.stem]
    assert page.read_text(encoding="utf-8").startswith(f"# {module.TITLE}\n\n{inspect.getdoc(module)}\n\n")


@pytest.mark.parametrize("page", sorted((DOCS / "studies").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_of_a_study_begins_with_its_docstring(page):
    title, _, about = inspect.getdoc(STUDIES[page.stem]).partition("\n")
    begins = "\n\n".join(part for part in (f"# {title}", about.strip()) if part)
    assert page.read_text(encoding="utf-8").startswith(f"{begins}\n\n")
