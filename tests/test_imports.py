"""Who may import what, read from the syntax trees, and what importing must not do."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "cs231n_jax"

# part of the package -> the parts it may import, besides itself
MAY_IMPORT = {
    "__init__": set(),
    "typing": set(),
    "ops": {"typing"},
    "optim": {"typing"},
    "data": {"typing"},
    "metrics": {"typing", "data"},
    "models": {"typing", "ops"},
    "interop": {"typing", "ops", "models"},
    "decode": {"typing", "ops", "models", "metrics"},
    "tasks": {"typing", "ops", "models", "metrics", "data", "decode"},
    "report": {"typing", "metrics", "data"},
    "inspect": {"typing", "ops", "optim", "models", "metrics", "data", "tasks"},
    "config": {"typing", "optim", "models", "data", "tasks", "train"},
    "train": {"typing", "ops", "optim", "models", "interop", "metrics", "data", "decode", "tasks", "report", "config"},
}

# other people's module -> the files and folders that may import it
ORACLES = ("tests/", "experiments/benchmarks/")
CONFINED = {
    "optax": ORACLES,
    "torch": ORACLES,
    "torchvision": ORACLES,
    "flax": ("cs231n_jax/models/", "cs231n_jax/train/state.py", *ORACLES),
    "flax.linen": ("cs231n_jax/models/", *ORACLES),
    "orbax": ("cs231n_jax/train/snapshots.py", *ORACLES),
    "grain": ("cs231n_jax/data/", *ORACLES),
    "tensorflow_datasets": ("cs231n_jax/data/", "experiments/prepare_data.py", "tests/"),
    "tensorflow": ("experiments/prepare_data.py",),
    "absl.flags": ("experiments/", "launch/", "tests/"),
    "absl.app": ("experiments/", "launch/"),
    "ml_collections": ("experiments/", "tests/"),
}


class Import(NamedTuple):
    """One imported name: `from a import b` has the module a and the name a.b; `import a.b` has a.b for both."""

    file: str
    line: int
    module: str
    name: str
    deferred: bool  # inside a function, or for type checkers only: not carried out by importing the file

    @property
    def part(self) -> str:
        """The part of the package that is imported; "" for other modules."""
        top, _, rest = self.name.partition(".")
        return rest.partition(".")[0] if top == PACKAGE else ""

    def of(self, module: str) -> bool:
        """Whether the name is `module` or lies in it."""
        return self.name == module or self.name.startswith(module + ".")

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def names_in(node: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(module, name) for every name that an import statement, or a call that imports, brings in."""
    match node:
        case ast.Import():
            yield from ((alias.name, alias.name) for alias in node.names)
        case ast.ImportFrom():
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from ((module, f"{module}.{alias.name}") for alias in node.names)
        case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), str(node.args[0].value)


def read_imports(path: Path) -> Iterator[Import]:
    file = path.relative_to(ROOT)
    todo: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while todo:
        node, deferred = todo.pop()
        for module, name in names_in(node, file.parts[:-1]):
            yield Import(file.as_posix(), getattr(node, "lineno", 0), module, name, deferred)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_for_type_checkers(node)
        todo += [(child, deferred or inside) for child in ast.iter_child_nodes(node)]


FILES = sorted(path for folder in (PACKAGE, "experiments", "launch", "tests") for path in (ROOT / folder).rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
    if path.is_relative_to(ROOT / PACKAGE)
}


@cache
def imports() -> list[Import]:
    """All of them: read by the first test, and not by every process that collects tests."""
    return [found for path in FILES for found in read_imports(path)]


@cache
def ours() -> list[Import]:
    """Those of the package."""
    return [found for found in imports() if found.file.startswith(PACKAGE + "/")]


def report(offenders: list[Import]) -> str:
    return "\n".join(map(str, offenders))


def test_the_reader_sees_every_kind_of_import(tmp_path, monkeypatch):
    text = """
import a.b
from c import d as e
from . import f
from ..g import h
def function():
    import i
    importlib.import_module("j.k")
if TYPE_CHECKING:
    from l import m
class Class:
    import n
"""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "top" / "middle" / "file.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    now = {found.name for found in read_imports(path) if not found.deferred}
    later = {found.name for found in read_imports(path) if found.deferred}
    assert now == {"a.b", "c.d", "top.middle.f", "top.g.h", "n"}
    assert later == {"i", "j.k", "l.m"}


@pytest.mark.parametrize("part", sorted({path.relative_to(ROOT / PACKAGE).parts[0] for path in MODULES.values()}))
def test_parts_import_downwards_only(part):
    mine = [found for found in ours() if Path(found.file).parts[1] == part]
    allowed = MAY_IMPORT[part.removesuffix(".py")] | {part.removesuffix(".py")}
    assert not (wrong := [found for found in mine if found.part and found.part not in allowed]), report(wrong)


def test_the_library_imports_no_programs_and_no_tests():
    wrong = [found for found in ours() if found.module.split(".")[0] in {"experiments", "launch", "tests"}]
    assert not wrong, report(wrong)


def test_references_do_not_import_what_they_check():
    wrong = [found for found in imports() if found.file.startswith("tests/references/") and found.of(PACKAGE)]
    assert not wrong, report(wrong)


@pytest.mark.parametrize("part", ["ops", "optim"])
def test_operators_and_optimizers_need_nothing_but_jax(part):
    allowed = {"jax", "numpy", "jaxtyping", PACKAGE, *sys.stdlib_module_names}
    mine = [found for found in ours() if found.file.startswith(f"{PACKAGE}/{part}/")]
    assert not (wrong := [found for found in mine if found.module.split(".")[0] not in allowed]), report(wrong)


@pytest.mark.parametrize("module", CONFINED)
def test_a_module_is_imported_in_its_place_only(module):
    wrong = [found for found in imports() if found.of(module) and not found.file.startswith(CONFINED[module])]
    assert not wrong, report(wrong)


@pytest.mark.parametrize("module", ["grain", "tensorflow_datasets", "torch", "tensorflow"])
def test_a_heavy_module_is_imported_inside_functions_only(module):
    rivals = "experiments/benchmarks/plain_torch"  # scripts in torch, loaded only where that is installed
    library = [found for found in imports() if not found.file.startswith(("tests/", rivals))]
    assert not (wrong := [found for found in library if found.of(module) and not found.deferred]), report(wrong)


def test_no_file_imports_itself_through_others():
    """Among the imports that are carried out when a file is imported."""
    edges: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in ours():
        source = ".".join(Path(found.file).with_suffix("").parts).removesuffix(".__init__")
        if not found.deferred and (target := found.name if found.name in MODULES else found.module) in MODULES:
            edges[source].add(target)
    while leaves := {name for name, targets in edges.items() if not targets}:
        edges = {name: targets - leaves for name, targets in edges.items() if name not in leaves}
    assert not edges, f"these files import each other in a circle: {edges}"


def run_python(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("part", ["ops", "optim"])
def test_operators_and_optimizers_load_alone(part):
    loaded = run_python(f"import sys, {PACKAGE}.{part}; print(*sorted(sys.modules))").split()
    assert not {"flax", "orbax", "tensorflow_datasets", "grain", "sklearn", "optax", "torch"} & set(loaded)


WATCH_GLOBAL_STATE = """
import importlib, json, logging, os, signal, sys, warnings
import jax, numpy

def state():
    loggers = {n: l for n, l in logging.root.manager.loggerDict.items() if isinstance(l, logging.Logger)}
    loggers["root"] = logging.root
    settings = {n: (l.level, l.propagate, l.disabled, [*map(repr, l.handlers)]) for n, l in loggers.items()}
    return {
        "jax.config": dict(jax.config.values),
        "environment": dict(os.environ),
        "logging": {n: s for n, s in settings.items() if s != (0, True, False, [])},
        "warning filters": [*map(repr, warnings.filters)],
        "signal handlers": {s.name: repr(signal.getsignal(s)) for s in signal.valid_signals() if hasattr(s, "name")},
        "numpy error handling": numpy.geterr(),
    }

theirs, ours = map(json.loads, sys.argv[1:])
for name in theirs:  # what they change is theirs
    importlib.import_module(name)
before = state()
for name in ours:
    importlib.import_module(name)
after = state()
jax.config.update("jax_num_cpu_devices", 2)  # raises if somebody has woken the devices
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_importing_changes_no_global_state():
    outside = {found.module for found in ours() if not found.deferred and not found.of(PACKAGE)}
    changed = run_python(WATCH_GLOBAL_STATE, json.dumps(sorted(outside)), json.dumps(sorted(MODULES)))
    assert json.loads(changed) == []
