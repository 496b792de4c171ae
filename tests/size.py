"""How large the repository is: python -m tests.size [DIR]."""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path

BLOCK = 6


def functions(tree: ast.AST) -> list[tuple[int, str]]:
    """Lines and name of every function."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(n.end_lineno - n.lineno + 1, n.name) for n in ast.walk(tree) if isinstance(n, kinds) and n.end_lineno]


def public(tree: ast.Module) -> int:
    """Functions and classes of a module whose names do not begin with an underscore."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return sum(isinstance(node, kinds) and not node.name.startswith("_") for node in tree.body)


def written(text: str) -> list[str]:
    """The lines of a module without white space at either end, empty ones and imports."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    left = {line for node in imports for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    return [line.strip() for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in left]


def again(texts: Iterable[str]) -> int:
    """How many runs of at least BLOCK lines stand in an earlier place already."""
    seen: set[tuple[str, ...]] = set()
    found = 0
    for lines in map(written, texts):
        repeated = False
        for i in range(len(lines) - BLOCK + 1):
            block = tuple(lines[i : i + BLOCK])
            before, repeated = repeated, block in seen
            found += repeated and not before
            seen.add(block)
    return found


def main(root: Path) -> None:
    """Print lines of source and tests, the longest file and function, public names and blocks that stand again."""
    groups = {"source": ("cs231n_jax", "experiments"), "tests": ("tests",)}
    for group, folders in groups.items():
        paths = [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
        texts = {path.relative_to(root): path.read_text(encoding="utf-8") for path in paths}
        trees = {path: ast.parse(text) for path, text in texts.items()}
        lines = {path: len(text.splitlines()) for path, text in texts.items()}
        longest = max(lines, key=lambda path: lines[path])
        length, name = max(found for tree in trees.values() for found in functions(tree))
        print(f"{group}: {sum(lines.values()):,} lines in {len(lines)} files")
        print(f"  longest file {longest}, {lines[longest]} lines; longest function {name}, {length} lines")
        print(f"  {sum(public(tree) for tree in trees.values()):,} public functions and classes")
        print(f"  {again(texts.values())} runs of {BLOCK} or more lines stand again")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
