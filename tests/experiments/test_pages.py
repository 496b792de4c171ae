"""The pages below docs/ say what their programs say of themselves: title and docstring."""

import inspect
from pathlib import Path

import pytest

from experiments import benchmark, studies

DOCS = Path(__file__).parents[2] / "docs"
BENCHMARKS = benchmark.registry()
STUDIES = studies.registry()
PRINTED_BEFORE = {"families"}  # a page without a docstring: to be taken out when it is printed anew


@pytest.mark.parametrize("page", sorted((DOCS / "benchmarks").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_of_a_benchmark_begins_with_its_docstring(page):
    module = BENCHMARKS[page.stem]
    about = "" if page.stem in PRINTED_BEFORE else f"{inspect.getdoc(module)}\n\n"
    assert page.read_text(encoding="utf-8").startswith(f"# {module.TITLE}\n\n{about}")


@pytest.mark.parametrize("page", sorted((DOCS / "studies").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_of_a_study_begins_with_its_docstring(page):
    title, _, about = inspect.getdoc(STUDIES[page.stem]).partition("\n")
    begins = "\n\n".join(part for part in (f"# {title}", about.strip()) if part)
    assert page.read_text(encoding="utf-8").startswith(f"{begins}\n\n")
