"""Where lines come from and where their answers go: files, folders, standard input and output."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from throughtime import config
from throughtime.data.paths import files_of, one_file

MARKS, WRITING = ".resume", ".writing"  # name endings of the files beside an unfinished output


@dataclass(frozen=True)
class Source:
    """One stream of lines; no `path` is standard input, no `target` is standard output; `targets` has a line for each of
    its lines, to score it with. A `path` may name a pipe, as the shell's `<(...)` does.

    `reads_json`, `writes_json`: whether its lines, and those of its answers, are JSON objects.
    """

    path: Path | None
    target: Path | None
    reads_json: bool
    writes_json: bool
    targets: Path | None = None

    def named(self, place: int) -> str:
        """The name of one of its lines in a warning."""
        return f"{self.path or 'input'} line {place}"


def sources(settings: config.DecodeConfig) -> list[Source]:
    """What `input=` names, each with its place under `output=`.

    Raises:
        Mistake: a file that cannot be read, or an output that cannot be written or would take another's place.
    """
    names = settings.input if isinstance(settings.input, list) else [settings.input]
    made = [_single(settings, None)] if names == ["-"] else _of_files(settings, names)
    if settings.targets is not None:
        if len(made) > 1:
            raise config.wrong("targets", settings.targets, "null with several input files")
        made = [replace(made[0], targets=one_file("targets", settings.targets))]
    for source in made:
        _refuse_attention(settings, source)
    return made


def _of_files(settings: config.DecodeConfig, names: list[str]) -> list[Source]:
    files = [pair for name in names for pair in paths_under("input", name)]
    single = len(files) == len(names) == 1 and not Path(names[0]).is_dir() and not Path(settings.output).is_dir()
    made = [_single(settings, files[0][0])] if single else _mirrored(settings, files)
    _refuse_inside(settings.output, names)
    return made


def refuse_overwriting(output: str, made: list[Source], read: Iterable[Path]) -> None:
    """Refuses an output that would take the place of a file that the job reads, or its notes would.

    Raises:
        Mistake: naming the file.
    """
    inputs = [path for source in made for path in (source.path, source.targets) if path is not None]
    places = {path.resolve() for path in (*inputs, *read)}
    for source in made:
        for ending in ("", MARKS, WRITING) if source.target is not None else ():
            place = Path(f"{source.target}{ending}")
            if place.resolve() in places:
                raise config.wrong("output", output, f"another place, as the job reads {place}")


def paths_under(setting: str, name: str) -> list[tuple[Path, Path]]:
    """The files that a path, a glob or a folder names, or the pipe that a path names, each with its relative place;
    hidden files in a folder are left out."""
    folder = Path(name).expanduser()
    if folder.is_fifo():
        return [(folder, Path(folder.name))]
    if not folder.is_dir():
        return [(path, Path(path.name)) for path in files_of(setting, name)]
    below = [(path, path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [(path, place) for path, place in below if not any(part.startswith(".") for part in place.parts)]
    if not shown:
        raise config.wrong(setting, name, "a folder with files in it")
    return shown


def _single(settings: config.DecodeConfig, path: Path | None) -> Source:
    """One file, or standard input: its answers go into one file, or to standard output."""
    output = Path(settings.output)
    if settings.output != "-" and (output.is_dir() or not output.parent.is_dir()):
        raise config.wrong("output", settings.output, "a file in a folder that is there, or - for standard output")
    return _source(settings, path, None if settings.output == "-" else output)


def _mirrored(settings: config.DecodeConfig, files: list[tuple[Path, Path]]) -> list[Source]:
    """Several files: their answers under the same names in the folder `output=`, or one after another."""
    if settings.output == "-":
        return [_source(settings, path, None) for path, _ in files]
    folder = Path(settings.output)
    if folder.exists() and not folder.is_dir():
        raise config.wrong("output", settings.output, "a folder, or - for standard output, with several input files")
    made = [_renamed(_source(settings, path, folder / place)) for path, place in files]
    (target, count), *_ = Counter(source.target for source in made).most_common()
    if count > 1:
        raise config.wrong("input", settings.input, f"files of different names, and {count} would become {target}")
    taken = {f"{source.target}{ending}" for source in made for ending in (MARKS, WRITING)} & {
        str(source.target) for source in made
    }
    if taken:
        raise config.wrong(
            "input", settings.input, f"files of other names, as beside an output its notes are {min(taken)}"
        )
    return made


def _refuse_inside(output: str, names: list[str]) -> None:
    """Refuses an output that would be an input itself the next time."""
    folders = {Path(name).resolve() for name in names if Path(name).is_dir()}
    place = Path(output).resolve()
    if output != "-" and {place, *place.parents} & folders:
        raise config.wrong("output", output, "a place outside of the input's folder")


def _refuse_attention(settings: config.DecodeConfig, source: Source) -> None:
    """Refuses grids in a file of one line per answer, and images without an output file to be put beside."""
    if settings.attention == "image" and source.target is None:
        raise config.wrong("attention", "image", "with an output file, beside which the images are put")
    if settings.attention == "text" and source.target is not None and not source.writes_json:
        raise config.wrong("attention", "text", "with output=-, or with format=jsonl as numbers")


def _renamed(source: Source) -> Source:
    """With the output's name ending as its format does."""
    target, ends = source.target, ".jsonl" if source.writes_json else ".txt"
    if target is None or (target.suffix == ".jsonl") == source.writes_json:
        return source
    return replace(source, target=target.with_suffix(ends))


def _source(settings: config.DecodeConfig, path: Path | None, target: Path | None) -> Source:
    """With `format=auto` a name decides: that of the output or, if that is a folder, of the input."""
    reads_json = path is not None and path.suffix == ".jsonl"
    named = path if target is None or Path(settings.output).is_dir() else target
    ends_in_jsonl = named is not None and named.suffix == ".jsonl"
    if target is not None and target.is_symlink() and (target.is_file() or not target.exists()):
        target = target.resolve()  # the link stays, and its target is written
    return Source(path, target, reads_json, ends_in_jsonl if settings.format == "auto" else settings.format == "jsonl")
