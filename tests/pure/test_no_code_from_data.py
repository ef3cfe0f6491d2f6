"""Nothing that comes out of the database becomes code: read off the package's own source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgjobq

PACKAGE = Path(pgjobq.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "jsonpickle",
    "yaml",
}
# These hand objects over as pickles; our processes talk in JSON over their own sockets.
UNSAFE_MODULES |= {"multiprocessing.connection", "multiprocessing.managers", "multiprocessing.queues"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
IMPORTERS = {"import_module", "exec_module", "load_module", "find_class", "run_module", "run_path"}
IMPORTS_BY_NAME = {
    "engine/app.py",  # the application, as the person who starts the worker named it
    "run/kinds.py",  # a room of our own, named in our own table
}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_pickle_no_eval_no_import_by_name(path: Path) -> None:
    tree = ast.parse(path.read_text())
    room = str(path.relative_to(PACKAGE))
    assert not UNSAFE_MODULES & {part for name in imported(tree) for part in (name, name.partition(".")[0])}
    bare = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not UNSAFE_CALLS & bare
    if room not in IMPORTS_BY_NAME:
        assert not {"import_module", "exec_module", "load_module", "find_class", "run_module", "run_path"} & set(
            called(tree)
        )


def test_the_search_sees_what_it_looks_for() -> None:
    tree = ast.parse(
        "import pickle\nfrom os import path\nfrom multiprocessing.connection import Client\nimportlib.import_module(x)"
    )
    assert {"pickle", "multiprocessing.connection", "os.path"} <= set(imported(tree))
    assert "import_module" in set(called(tree))
    assert len(SOURCES) > 50
