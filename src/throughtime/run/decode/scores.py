"""How good the decoded texts are: sacrebleu's metrics, bootstrapped confidence, and the difference from a baseline."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest, Result

from throughtime import config
from throughtime.data.paths import read_lines
from throughtime.run.decode.answers import Answer, best_texts, gives_several, read_back
from throughtime.run.decode.sources import Source, paths_under
from throughtime.train import checkpoint
from throughtime.train.quality import METRICS, direction, text_scores

MOST_NUMBERS = 10**8  # that sacrebleu holds for a metric's resamples; the more lines, the fewer are drawn
ALWAYS = ("bleu", "bleu_lowercase", "chrf", "ter", "exact_match")  # are reported, whatever the checkpoint's `metrics`
KEYS = ("target", "reference", "text")  # where a JSON line may hold one
NUMBERS_A_LINE = 18  # those of chrF, which has the most


@dataclass
class References:
    """Compares the texts of a job with others: `streams` of references, each with a line for each line of the input,
    and the `baseline`, its name and texts; the checkpoint's own `metrics` are reported, too."""

    names: list[str]
    streams: list[list[str]]
    baseline: tuple[str, list[str]] | None
    bootstrap: int
    metrics: config.Metrics
    several: bool = False
    texts: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: config.DecodeConfig, total: int | None, path: Path) -> "References":
        """Those of `references=` and `baseline=`, of `total` lines each if that is known, for the checkpoint at `path`.

        Raises:
            Mistake: a file that cannot be read, or of another number of lines.
        """
        names = _names(settings)
        streams = [_lines("references", name, total) for name in names]
        against = settings.baseline
        baseline = None if against is None else (against, _lines("baseline", against, total))
        metrics = checkpoint.settings(path, "checkpoint").metrics
        return cls(names, streams, baseline, settings.bootstrap, metrics, gives_several(settings.search))

    def take_up(self, written: Iterable[bytes], source: Source) -> None:
        """Adds the best texts from what an earlier job wrote."""
        self.texts += best_texts(written, source.writes_json, self.several)

    def add(self, answers: Sequence[Answer]) -> None:
        """Adds the best texts of answers."""
        self.texts += [answer.gist for answer in answers]

    def report(self) -> None:
        """A line for each metric on standard error: score, half of the 95 % confidence interval, the baseline's, p of the
        difference (paired bootstrap, Koehn 2004), sacrebleu's signature."""
        compared = [("references", name, lines) for name, lines in zip(self.names, self.streams, strict=True)]
        compared += [] if self.baseline is None else [("baseline", *self.baseline)]
        for setting, name, lines in compared:
            if len(lines) != len(self.texts) or not lines:
                wanted = f"as many lines as the input had, {len(self.texts)}, not {len(lines)}"
                raise config.wrong(setting, name, wanted)
        for row in self._rows(self.texts):
            print(row, file=sys.stderr)

    def _rows(self, texts: list[str]) -> Iterator[str]:
        resamples = min(self.bootstrap, max(2, MOST_NUMBERS // (NUMBERS_A_LINE * len(texts))))
        for name in dict.fromkeys([*ALWAYS, *(score for score in self.metrics.scores if score in METRICS)]):
            metric = METRICS[name]()
            if resamples < 2:
                shown, signature = f"{metric.corpus_score(texts, self.streams).score:6.2f}", metric.get_signature()
            else:
                shown, signature = self._resampled(texts, metric, resamples)
            yield f"{name:16}{shown}  {signature}"
        others = config.Metrics([score for score in self.metrics.scores if score not in METRICS])
        by_stream = [text_scores(others, texts, stream) for stream in self.streams]
        for score in by_stream[0]:
            best = max if direction(score) == "max" else min
            yield f"{score:16}{best(scores[score] for scores in by_stream):6.2f}"

    def _resampled(self, texts: list[str], metric: Metric, resamples: int) -> tuple[str, Any]:
        """The score with its confidence interval, and the baseline's if there is one. A single system goes through the
        test for pairs, too, as the metrics' own bootstrap fails where a resample scores 0."""
        systems: list[tuple[str, Sequence[str]]] = [("this", texts)]
        if self.baseline is not None:
            systems.insert(0, ("baseline", self.baseline[1]))
        signatures, scores = PairedTest(systems, {"metric": metric}, self.streams, "bs", resamples)()
        (name,) = signatures
        *theirs, ours = cast(list[Result], scores[name])
        shown = f"{ours.score:6.2f} ± {ours.ci:6.2f}"
        for other in theirs:
            chance = 1.0 if ours.score == other.score else ours.p_value  # sacrebleu calls no difference significant
            shown += f"  baseline {other.score:6.2f} ± {other.ci:6.2f}  p {chance:.4f}"
        return shown, signatures[name]


def compared_files(settings: config.DecodeConfig) -> list[Path]:
    """The files of `references=` and `baseline=`."""
    names = [("references", name) for name in _names(settings)]
    names += [] if settings.baseline is None else [("baseline", settings.baseline)]
    return [path for setting, name in names for path, _ in paths_under(setting, name)]


def _names(settings: config.DecodeConfig) -> list[str]:
    """What `references=` lists."""
    references = [] if settings.references is None else settings.references
    return references if isinstance(references, list) else [references]


def _lines(setting: str, name: str, total: int | None) -> list[str]:
    """The texts of a file, or of all files in a folder: lines or, in a `.jsonl` file, what is under one of `KEYS`."""
    texts = [text for path, _ in paths_under(setting, name) for text in _texts(setting, path)]
    if total is not None and len(texts) != total:
        raise config.wrong(setting, name, f"a file of {total} lines like the input, not {len(texts)}")
    return texts


def _texts(setting: str, path: Path) -> list[str]:
    if path.is_file() and not path.stat().st_size:  # as the input of that name may be
        return []
    lines = read_lines(setting, str(path))
    if path.suffix != ".jsonl":
        return [read_back(line) for line in lines]
    try:
        rows = [json.loads(line) for line in lines]
        return [_text(row) for row in rows]
    except (ValueError, TypeError, LookupError, StopIteration) as error:
        raise config.wrong(setting, path, f"JSON objects with a text under {', '.join(KEYS)}, one a line") from error


def _text(row: Any) -> str:
    """A text under one of the keys, or the best hypothesis of another job."""
    value = row["hypotheses"][0]["text"] if "hypotheses" in row else next(row[key] for key in KEYS if key in row)
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
