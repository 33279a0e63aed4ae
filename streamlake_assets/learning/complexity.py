"""How much there is to know and to keep to use an engine: counted from this project's own engine modules.

Belongs here: counting lines, names of the library, settings and dependencies out of source text and package metadata.
Stays out: processes and files, which are counted while an engine runs (``timing``); judging.

Counted: lines of code without comments, blank lines and docstrings; concepts, that is distinct dotted names of the
library that the code imports or reaches by an imported name; settings, that is distinct keyword arguments of calls into
the library, keys handed over in a dictionary of the spec's hyper-parameters, and configuration keys such as
``spark.driver.memory``; direct and transitive dependencies of the distributions that the engine needs.
"""

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from streamlake_assets.errors import UsageError

LIBRARIES: Final[dict[str, frozenset[str]]] = {
    "sklearn": frozenset({"sklearn", "skops"}),
    "dask": frozenset({"dask", "dask_ml", "dask_glm", "distributed", "joblib"}),
    "spark": frozenset({"pyspark", "py4j"}),
    "xgboost": frozenset({"xgboost"}),
}
"""Top-level packages whose names are an engine's concepts."""
DISTRIBUTIONS: Final[dict[str, tuple[str, ...]]] = {
    "sklearn": ("scikit-learn", "skops"),
    "dask": ("dask-ml", "dask", "distributed"),
    "spark": ("pyspark",),
    "xgboost": ("xgboost-cpu",),
}
BEYOND_PYTHON: Final[dict[str, tuple[str, ...]]] = {"spark": ("a Java runtime (JDK 17)",)}
"""What an engine needs that no Python package brings."""
_CONFIGURATION: Final = re.compile(r"^(spark|distributed|dask)\.[a-zA-Z][\w.\-]*$")
_NOT_CODE: Final = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
)


class Complexity(NamedTuple):
    """What using one engine takes.

    ``borrows`` are modules of other engines that its own import, not counted again; ``missing`` are its distributions
    that are not installed.
    """

    engine: str
    modules: tuple[str, ...]
    borrows: tuple[str, ...]
    lines: int
    concepts: tuple[str, ...]
    settings: tuple[str, ...]
    direct: tuple[str, ...]
    transitive: tuple[str, ...]
    beyond_python: tuple[str, ...]
    missing: tuple[str, ...]


def engine_complexity(engine: str, folder: Path | None = None) -> Complexity:
    """Count what an engine takes in this project: all modules named ``<engine>_*.py`` of a folder (default: this one).

    Raises:
        UsageError: an engine that nothing is known of, or without a module.
    """
    if engine not in LIBRARIES:
        raise UsageError(f"no libraries are known of engine {engine!r}; there are {', '.join(LIBRARIES)}")
    paths = sorted((folder or Path(__file__).parent).glob(f"{engine}_*.py"))
    if not paths:
        raise UsageError(f"engine {engine} has no module of its own to count")
    texts = [path.read_text() for path in paths]
    known = [_library_use(text, LIBRARIES[engine]) for text in texts]
    direct, transitive, missing = dependencies(DISTRIBUTIONS[engine])
    return Complexity(
        engine=engine,
        modules=tuple(path.name for path in paths),
        borrows=tuple(sorted(set().union(*(_borrowed(text, engine) for text in texts)))),
        lines=sum(lines_of_code(text) for text in texts),
        concepts=tuple(sorted(set().union(*(concepts for concepts, _ in known)))),
        settings=tuple(sorted(set().union(*(settings for _, settings in known)))),
        direct=direct,
        transitive=transitive,
        beyond_python=BEYOND_PYTHON.get(engine, ()),
        missing=missing,
    )


def lines_of_code(text: str) -> int:
    """Return how many lines hold code: no comments, no blank lines, no docstrings."""
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NOT_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    tree = ast.parse(text)
    for node in ast.walk(tree):
        # a text that stands alone says something and does nothing: docstrings, also those of attributes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)


def library_use(text: str, libraries: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the distinct names of some libraries that a module uses, and the settings it gives them."""
    return _library_use(text, frozenset(libraries))


def _library_use(text: str, libraries: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    tree = ast.parse(text)
    names = dict(_imported(tree, libraries))
    concepts = set(names.values())
    settings: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (dotted := _dotted(node, names)):
            concepts.add(dotted)
        if isinstance(node, ast.Call) and (called := _called(node.func, names)):
            settings |= {f"{called}({keyword.arg})" for keyword in node.keywords if keyword.arg}
            settings |= {f"{called}({key})" for argument in node.args for key in _keys(argument)}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CONFIGURATION.match(node.value):
            settings.add(node.value)
    # of a.b and a.b.c only the longer one is a concept when the shorter is no more than the way to it
    ways = {name.rpartition(".")[0] for name in concepts}
    return frozenset(name for name in concepts if name not in ways or name in names.values()), frozenset(settings)


def dependencies(wanted: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the direct dependencies of distributions (themselves among them), all that follow, and what is absent.

    Extras are not counted, nor what is needed on other systems only.
    """
    missing = tuple(name for name in wanted if _requires(name) is None)
    found: set[str] = {canonicalize_name(name) for name in wanted if name not in missing}
    direct = set(found)
    waiting = list(found)
    while waiting:
        for requirement in _requires(waiting.pop()) or ():
            if requirement not in found and _requires(requirement) is not None:
                found.add(requirement)
                waiting.append(requirement)
    for name in list(direct):
        direct.update(need for need in _requires(name) or () if need in found)
    return tuple(sorted(direct)), tuple(sorted(found)), missing


def _requires(name: str) -> list[str] | None:
    try:
        lines = distribution(name).requires or []
    except PackageNotFoundError:
        return None
    needs = [Requirement(line) for line in lines]
    return [canonicalize_name(r.name) for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]


def _borrowed(text: str, engine: str) -> set[str]:
    modules = {node.module or "" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    names = {module.rpartition(".")[2] for module in modules if module.startswith("streamlake_assets.")}
    others = tuple(f"{other}_" for other in LIBRARIES if other != engine)
    return {f"{name}.py" for name in names if name.startswith(others)}


def _imported(tree: ast.Module, libraries: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield local name and dotted name of everything imported from the libraries, anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in libraries:
                    yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in libraries:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name of an expression that starts at an imported name, else an empty text."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _called(node: ast.expr, names: dict[str, str]) -> str:
    """Return the library's name that a call goes to, through a chain of calls too (``builder.config(…).config(…)``)."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
        before = _called(node.value.func, names)
        return f"{before}.{node.attr}" if before else ""
    return _dotted(node, names)


def _keys(node: Any) -> list[str]:
    if not isinstance(node, ast.Dict):
        return []
    return [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
