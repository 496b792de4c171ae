"""The conventions of CONTRIBUTING.md, as far as a program can check them."""

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import faults

ROOT = Path(__file__).parents[1]
FOLDERS = ("cs231n_jax", "experiments", "docs", "launch", "tests", ".ci")
BINARY = {".png", ".npz", ".npy", ".safetensors", ".gz"}
NESTING = (ast.For, ast.While, ast.If, ast.Try, ast.Match)  # `with` takes no decision
FLAT_CONFIGS = {"OptimizerConfig", "ScheduleConfig", "DataConfig"}  # command-line flags cannot choose between classes
SHELL_SCRIPTS = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / "launch" / "slurm.sbatch", ROOT / ".ci" / "run"]


def all_files() -> Iterator[Path]:
    """What belongs to the repository, without asking git, which a source archive is without."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


FILES = sorted(path for path in all_files() if path.suffix not in BINARY)
SOURCES = {path: path.read_text(encoding="utf-8") for path in FILES if path.suffix == ".py"}
LIBRARY = [path for path in SOURCES if path.is_relative_to(ROOT / "cs231n_jax")]


def place(path: Path, node: ast.AST | None = None) -> str:
    return str(path.relative_to(ROOT)) + (f":{node.lineno}" if node else "")


@cache
def nodes(*kinds: type[ast.AST]) -> list[tuple[Path, ast.AST]]:
    """All of these kinds: read by the tests that ask, and not by every process that collects tests."""
    return [(path, node) for path, tree in trees().items() for node in ast.walk(tree) if isinstance(node, kinds)]


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(text) for path, text in SOURCES.items()}


def functions() -> list[tuple[Path, ast.FunctionDef]]:
    return nodes(ast.FunctionDef, ast.AsyncFunctionDef)


def depth(node: ast.AST) -> int:
    """How deep control flow nests in `node`; an `elif` continues its `if`, an inner function starts afresh."""

    def below(child: ast.AST) -> int:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return 0
        if isinstance(node, ast.If) and [child] == node.orelse and isinstance(child, ast.If):
            return depth(child) - 1
        return depth(child)

    return isinstance(node, NESTING) + max(map(below, ast.iter_child_nodes(node)), default=0)


# --- sizes ---


def test_files_are_short():
    lengths = {path: text.count("\n") for path, text in SOURCES.items()}
    assert not {place(path): length for path, length in lengths.items() if length > 500}
    library = [lengths[path] for path in LIBRARY]
    assert sum(length > 350 for length in library) <= 0.05 * len(library)
    assert statistics.median(library) <= 160


def test_functions_are_short():
    lengths = {place(path, node): (node.end_lineno or 0) - node.lineno + 1 for path, node in functions()}
    assert not {where: length for where, length in lengths.items() if length > 100}


def test_the_nesting_is_counted_as_it_reads():
    flat = "def f():\n  if a: b\n  elif c: d\n  elif e: f\n  else: g"
    deep = "def f():\n  for a in b:\n    if c:\n      while d:\n        with e:\n          try: g\n          finally: h"
    assert depth(ast.parse(flat).body[0]) == 1
    assert depth(ast.parse(deep).body[0]) == 4


def test_nesting_is_shallow():
    assert not [place(path, node) for path, node in functions() if depth(node) > 3]


def test_dataclasses_have_few_fields():
    counts = {
        f"{place(path, node)} {node.name}": sum(isinstance(line, ast.AnnAssign) for line in node.body)
        for path, node in nodes(ast.ClassDef)
        if any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)
    }
    assert not {name: n for name, n in counts.items() if n > 12 and name.split()[1] not in FLAT_CONFIGS}


# --- names and words ---


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "helper", "common", "misc"])
def test_no_file_is_named_for_nothing(name):
    assert not [place(path) for path in FILES if name in {part.removesuffix(".py") for part in path.parts[-3:]}]


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?<![\w.}])/(?:work|home|root|tmp|Users|opt)/",  # places on somebody's machine
        r"\b(?:TO[D]O|FIX[M]E|X{3})\b",
        r"^(?:<{7}|>{7}|={7})(?: |$)",  # what a merge leaves
        r"[ \t]+$",
    ],
)
def test_no_file_holds(pattern):
    found = [
        f"{place(path)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


def test_every_deliberate_fault_still_has_its_place_and_its_tests():
    lost = {name for name, fault in faults.FAULTS.items() if faults.found(fault) != 1}
    assert not lost
    assert all((ROOT / fault.tests.split()[0]).is_file() for fault in faults.FAULTS.values())


def test_no_assert_stands_for_a_check_of_the_input():
    """An assert may state what the code itself makes true; what a caller gives needs an error that tells him."""
    found = []
    for path, function in ((path, function) for path, function in functions() if path in LIBRARY):
        given = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        asserts = (node for node in ast.walk(function) if isinstance(node, ast.Assert))
        found += [place(path, node) for node in asserts if given & {name.id for name in names_of(node.test)}]
    assert not found


def names_of(node: ast.AST) -> Iterator[ast.Name]:
    return (child for child in ast.walk(node) if isinstance(child, ast.Name))


# --- dependencies ---

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = [Requirement(line.rstrip(" \\")) for line in LOCK.splitlines() if re.match(r"\w", line)]


def test_the_lock_file_names_no_index():
    assert not re.findall(r"^.*(?:https?:|file:|--(?:extra-)?index-url|--find-links).*$", LOCK, re.MULTILINE)


def test_every_pin_is_exact_and_hashed():
    blocks = re.split(r"^(?=\w)", LOCK, flags=re.M)
    pinned = [block for block in blocks if re.match(r"\w", block)]
    assert len(pinned) == len(PINS) > 0
    assert not [block.splitlines()[0] for block in pinned if "==" not in block or "--hash=sha256:" not in block]


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("needed", [*PROJECT["dependencies"], *EXTRAS["test"]])
def test_the_lock_file_is_in_step_with_the_project(needed, python):
    requirement = Requirement(needed)
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    pins = [
        pin
        for pin in PINS
        if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    ]
    assert len(pins) == 1, f"{needed} has {len(pins)} pins for Python {python}; compile requirements.lock again"
    version = str(pins[0].specifier).removeprefix("==")
    assert requirement.specifier.contains(version, prereleases=True)


@pytest.mark.parametrize("name", ["torch", "torchvision", "tensorflow"])
def test_rivals_are_not_installed_by_default(name):
    assert name not in {canonicalize_name(pin.name) for pin in PINS}


# --- tools ---


def run_tool(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")])
def test_ruff_has_no_complaint(arguments):
    run_tool(sys.executable, "-m", "ruff", *arguments, "--no-cache", ".")


def test_shellcheck_has_no_complaint():
    run_tool(
        Path(sys.executable).with_name("shellcheck"), "--external-sources", "--source-path=SCRIPTDIR", *SHELL_SCRIPTS
    )
