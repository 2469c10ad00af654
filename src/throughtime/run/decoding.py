"""Text lines in, decoded lines out, block by block, with nothing but a checkpoint."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from throughtime import build, config
from throughtime.callbacks.decoding import describe
from throughtime.data.files import not_utf8, one_file, read_lines
from throughtime.data.tokenizer import Tokenizer, encode_known
from throughtime.nn.models import LanguageModel
from throughtime.search import Demands, banned, search, stepper_of
from throughtime.train import checkpoint
from throughtime.train.quality import text_scores
from throughtime.whole import whole_file

KEYS = ("source", "prompt", "text")  # where a JSONL line may hold what is to be decoded


class Decoder:
    """A checkpoint ready to decode: texts -> the plain data of their hypotheses."""

    def __init__(self, path: Path, settings: config.DecodeConfig):
        found = build.from_checkpoint(path, settings.allow_code)
        model = found.model.to(build.device(settings.accelerator))
        self._search, self._stepper = settings.search, stepper_of(model)
        self.metrics = found.metrics
        self._random = torch.Generator().manual_seed(settings.seed)
        reads_prompts = isinstance(model, LanguageModel)
        self._reads: Tokenizer = found.tokenizers["text" if reads_prompts else "source"]
        self._writes: Tokenizer = found.tokenizers["text" if reads_prompts else "target"]

    def decode(self, texts: list[str], first_line: int) -> list[dict[str, Any]]:
        """One result a text, in order; the hypotheses of each best first."""
        places = range(first_line, first_line + len(texts))
        batch = [
            encode_known(self._reads, text, f"input line {place}") for place, text in zip(places, texts, strict=True)
        ]
        demands = Demands(banned=banned(self._search, self._writes.encode))
        found = search(self._search, self._stepper, batch, self._random, demands)
        rows = zip(places, texts, found, strict=True)
        return [
            {"line": place, "source": text, "hypotheses": describe(hypotheses, self._writes)}
            for place, text, hypotheses in rows
        ]


def decode(settings: config.DecodeConfig) -> None:
    """Decodes `input` into `output`, and scores it where references are given.

    Raises:
        Mistake: a file or checkpoint that cannot be used; an output that was there stays as it was.
    """
    path = checkpoint.find(settings.checkpoint or "", settings.outputs, "checkpoint")
    _refuse_output(settings.output)
    total = _lines_of(settings.input)
    references = _references(settings, total)
    decoder, as_json = Decoder(path, settings), _format(settings) == "jsonl"
    best: list[str] = []
    with _source(settings.input) as lines, _target(settings.output) as out, _bar(total) as advance:
        for done, texts in _blocks(lines, settings.batch):
            results = decoder.decode(texts, done + 1)
            out.writelines(_as_json(result) if as_json else _as_text(result) for result in results)
            out.flush()
            if references is not None:
                best += [result["hypotheses"][0]["text"] for result in results]
            advance(len(texts))
    if references is not None:
        _print_scores(decoder.metrics, best, references)


def _refuse_output(name: str) -> None:
    """Refuses what cannot become a file, before any work is done for it."""
    path = Path(name)
    if name != "-" and (path.is_dir() or not path.parent.is_dir()):
        raise config.wrong("output", name, "a file in a folder that is there, or - for standard output")


def _lines_of(name: str) -> int | None:
    """How many lines the input has; None where it is a stream."""
    if name == "-":
        return None
    with one_file("input", name).open("rb") as file:
        return sum(1 for _ in file)


def _references(settings: config.DecodeConfig, total: int | None) -> list[str] | None:
    if settings.references is None:
        return None
    references = read_lines("references", settings.references)
    if total is not None and len(references) != total:
        raise config.wrong(
            "references",
            settings.references,
            f"a file of {total} lines like the input, not {len(references)}",
        )
    return references


def _format(settings: config.DecodeConfig) -> str:
    if settings.format != "auto":
        return settings.format
    decides = settings.input if settings.output == "-" else settings.output
    return "jsonl" if decides.endswith(".jsonl") else "text"


@contextmanager
def _source(name: str) -> Iterator[Iterator[str]]:
    """The texts to decode, one a line."""
    with open(sys.stdin.fileno() if name == "-" else name, encoding="utf-8", closefd=name != "-") as file:
        yield (_text(line.removesuffix("\n"), place, name) for place, line in enumerate(_decoded(file, name), start=1))


def _decoded(file: TextIO, name: str) -> Iterator[str]:
    try:
        yield from file
    except UnicodeDecodeError as error:
        raise not_utf8("input", name, error) from error


def _text(line: str, place: int, name: str) -> str:
    """The line itself, or what a JSONL line holds."""
    if not name.endswith(".jsonl"):
        return line
    try:
        row = json.loads(line)
        return str(next(row[key] for key in KEYS if key in row))
    except (ValueError, TypeError, StopIteration) as error:
        allowed = f"JSON objects with a key {', '.join(KEYS[:-1])} or {KEYS[-1]}; line {place} is not"
        raise config.wrong("input", name, allowed) from error


@contextmanager
def _target(name: str) -> Iterator[TextIO]:
    """Standard output, or a file that takes its place only when it is whole."""
    if name == "-":
        yield sys.stdout
        return
    with whole_file(Path(name)) as fresh:
        try:
            file = fresh.open("w", encoding="utf-8")
        except OSError as error:
            raise config.wrong("output", name, f"a file that can be written ({error.strerror})") from error
        with file:
            yield file


@contextmanager
def _bar(total: int | None) -> Iterator[Any]:
    """A progress bar on standard error; the function it gives advances it."""
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("decoding", total=total)
        yield lambda lines: progress.advance(bar, lines)


def _blocks(lines: Iterator[str], size: int) -> Iterator[tuple[int, list[str]]]:
    done = 0
    while texts := list(islice(lines, size)):
        yield done, texts
        done += len(texts)


def _as_json(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False) + "\n"


def _as_text(result: dict[str, Any]) -> str:
    """The best hypothesis; of several, one line each: line number, score and text between tabs."""
    hypotheses = result["hypotheses"]
    texts = [found["text"].replace("\n", "\\n") for found in hypotheses]
    if len(texts) == 1:
        return texts[0] + "\n"
    rows = zip(hypotheses, texts, strict=True)
    return "".join(f"{result['line']}\t{found['score']:.4f}\t{text}\n" for found, text in rows)


def _print_scores(metrics: config.Metrics, texts: list[str], references: list[str]) -> None:
    if len(texts) != len(references):
        raise config.wrong("references", len(references), f"as many lines as the input had, {len(texts)}")
    scores = text_scores(metrics, texts, references)
    print("  ".join(f"{name} {value:.4g}" for name, value in scores.items()), file=sys.stderr)
