"""What this Python's standard library says of itself: docstrings as running text, and pairs made of them and their code."""

import ast
import platform
import random
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from datasets import Dataset

from throughtime import config
from throughtime.data.splits import SPLITS

Node: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Row = TypeVar("Row")
LIBRARY = Path(sysconfig.get_path("stdlib"))


class Documented(NamedTuple):
    """A module, class or function with its dotted name and its docstring."""

    name: str
    node: Node
    docstring: str


def identity(data: config.StdlibDocs | config.StdlibPairs) -> dict[str, Any]:
    """What determines the rows: the settings and this Python's version."""
    return {
        **config.plain(data),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }


def docs(data: config.StdlibDocs) -> dict[str, Dataset]:
    """The docstrings as running text, file by file."""
    files = [[found.docstring for found in file] for file in _library()]
    texts = [["\n\n".join(fresh) + "\n\n"] for fresh in _without_repetitions(files)]
    return {
        split: Dataset.from_dict({"text": rows}) for split, rows in _split(texts, data, lambda row: len(row)).items()
    }


def pairs(data: config.StdlibPairs) -> dict[str, Dataset]:
    """The pairs of `data=stdlib_summaries`, `stdlib_functions` or `stdlib_topics`; none is longer than `longest`."""
    pair_of = {"stdlib_summaries": summary_of, "stdlib_functions": function_of, "stdlib_topics": topic_of}[data.name]
    found = [
        [pair for pair in map(pair_of, file) if pair and max(map(len, pair)) <= data.longest] for file in _library()
    ]
    splits = _split(_without_repetitions(found), data, lambda _: 1)
    return {
        split: Dataset.from_dict({"source": [pair[0] for pair in rows], "target": [pair[1] for pair in rows]})
        for split, rows in splits.items()
    }


def summary_of(found: Documented) -> tuple[str, str] | None:
    """What a docstring says after its first paragraph -> that paragraph, each as one line."""
    summary, _, body = found.docstring.partition("\n\n")
    return (_line(body), _line(summary)) if body.strip() else None


def function_of(found: Documented) -> tuple[str, str] | None:
    """A docstring's first paragraph -> the function it belongs to, without docstring, decorators and comments."""
    node = found.node
    if not isinstance(node, ast.FunctionDef) or len(node.body) < 2:
        return None
    bare = ast.FunctionDef(node.name, node.args, node.body[1:], [], node.returns)
    return _line(found.docstring.partition("\n\n")[0]), ast.unparse(ast.fix_missing_locations(bare))


def topic_of(found: Documented) -> tuple[str, str]:
    """A dotted name -> the first paragraph of its docstring."""
    return found.name, _line(found.docstring.partition("\n\n")[0])


def _line(text: str) -> str:
    return " ".join(text.split())


def _library() -> Iterator[list[Documented]]:
    """What is documented in each source file that a user may import."""
    for path in sorted(LIBRARY.rglob("*.py")):
        place = path.relative_to(LIBRARY)
        if not {"site-packages", "test", "tests", "idle_test"} & set(place.parts):
            yield list(_documented(path, place.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")))


def _documented(path: Path, module: str) -> Iterator[Documented]:
    try:
        unseen: list[tuple[str, ast.AST]] = [(module, ast.parse(path.read_text(encoding="utf-8")))]
    except (SyntaxError, UnicodeDecodeError):  # the library ships files that are wrong on purpose
        return
    for name, node in unseen:  # grows as it is gone through
        if isinstance(node, Node) and (docstring := ast.get_docstring(node)):
            yield Documented(name, node, docstring)
        unseen += [(_inside(name, child), child) for child in ast.iter_child_nodes(node)]


def _inside(name: str, child: ast.AST) -> str:
    return f"{name}.{child.name}" if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else name


def _without_repetitions(files: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Each row where it comes first; files with nothing new are left out."""
    seen, fresh = set[Row](), list[list[Row]]()
    for file in files:
        new = [row for row in dict.fromkeys(file) if row not in seen]
        seen.update(new)
        fresh += [new] if new else []
    return fresh


def _split(
    files: list[list[Row]], data: config.StdlibDocs | config.StdlibPairs, size: Callable[[Row], int]
) -> dict[str, list[Row]]:
    """Whole files go to validation and test until these have their share, so that neither repeats training rows."""
    random.Random(0).shuffle(files)
    sizes = [sum(map(size, file)) for file in files]
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    left = {"validation": data.validation_share * sum(sizes), "test": data.test_share * sum(sizes)}
    for file, weight in zip(files, sizes, strict=True):
        split = next((split for split in left if left[split] > 0), "train")
        splits[split] += file
        if split in left:
            left[split] -= weight
    return splits
