"""A user's own cell, found by the path of its file or module and the name of its class."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from throughtime import config
from throughtime.nn.cells.base import Cell


def own_cell(path: str, setting: str = "cell.path") -> type[Cell]:
    """The class that `path` names, `my_cells.py:Minimal` or `my_package.cells:Minimal`; this runs the file. `setting`:
    what errors call the path.

    Raises:
        Mistake: no such file, module or class; a file that fails; a class that is no cell.
    """
    place, _, name = path.rpartition(":")
    module = _from_file(path, Path(place), setting) if place.endswith(".py") else _from_module(path, place, setting)
    found = vars(module).get(name)
    classes = [known for known, value in vars(module).items() if isinstance(value, type) and issubclass(value, Cell)]
    if found is None:
        raise config.wrong(setting, path, f"a class that {place} has{config.nearest(name, classes)}")
    if name not in classes:
        raise config.wrong(setting, path, "a class derived from throughtime.nn.cells.Cell")
    _refuse_incomplete(path, setting, found)
    return found


def _from_file(path: str, file: Path, setting: str) -> ModuleType:
    if not file.is_file():
        raise config.wrong(setting, path, f"a file that is there, and {file} is not")
    specification = importlib.util.spec_from_file_location(str(file.resolve()), file)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # where dataclasses look up the names in annotations
    try:
        specification.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise failing(path, setting, error) from error
    return module


def _from_module(path: str, name: str, setting: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise config.wrong(setting, path, f"a module that Python finds, and {error.name} is none") from error
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise failing(path, setting, error) from error
    finally:
        sys.path.pop(0)


def failing(path: str, setting: str, error: BaseException) -> config.Mistake:
    """The mistake for an error that a user's code has raised."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return config.wrong(setting, path, f"code that runs, and this ends with {reason}")


def _refuse_incomplete(path: str, setting: str, found: type[Cell]) -> None:
    needed = {"states": "the names of its state tensors, the output first", "gates": "how many gates it has"}
    for attribute, meaning in needed.items():
        if not getattr(found, attribute, None):
            raise config.wrong(setting, path, f"a cell with `{attribute}`, {meaning}")
    if isinstance(found.states, str) or isinstance(found.vectors, str):
        raise config.wrong(setting, path, "a cell with `states` and `vectors` as tuples, such as ('h',), not as texts")
    if not hasattr(found, "step") and found.stages is Cell.stages:
        raise config.wrong(setting, path, "a cell with a `step`, or `stages` of its own")
