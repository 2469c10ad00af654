"""How good the decoded texts are: sacrebleu's metrics, their confidence by bootstrap, and the difference to a baseline."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric, Score
from sacrebleu.significance import PairedTest, Result

from throughtime import config
from throughtime.data.files import read_lines
from throughtime.run.decode.answers import on_one_line
from throughtime.run.decode.sources import paths_under

MOST_NUMBERS = 10**8  # that sacrebleu holds for a metric's resamples; of more lines fewer are drawn
NUMBERS_A_LINE = 18  # of chrF, which has the most


class ExactMatch(Metric):
    """The share of lines that equal one of their references, in percent, as a metric that sacrebleu can resample."""

    def _preprocess_segment(self, sent: str) -> str:
        return sent

    def _extract_reference_info(self, refs: Sequence[str]) -> dict[str, Any]:
        return {"references": refs}

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: dict[str, Any]) -> list[int]:
        return [hypothesis in ref_kwargs["references"], 1]

    def _compute_score_from_stats(self, stats: Any) -> Score:
        return Score("exact match", 100 * float(stats[0]) / float(stats[1]))

    def _aggregate_and_compute(self, stats: list[list[int]]) -> Score:
        return self._compute_score_from_stats([sum(column) for column in zip(*stats, strict=True)])


def metrics() -> dict[str, Metric]:
    """Every metric by the name it is printed under."""
    return {
        "bleu": BLEU(force=True),
        "bleu lowercased": BLEU(lowercase=True, force=True),
        "chrf": CHRF(),
        "ter": TER(),
        "exact match": ExactMatch(),
    }


@dataclass(frozen=True)
class References:
    """The texts to compare with: `streams` of references, each a line for each line of the input; a `baseline`'s texts."""

    name: str | list[str]
    streams: list[list[str]]
    baseline: list[str] | None
    bootstrap: int

    @classmethod
    def of(cls, settings: config.DecodeConfig, total: int | None) -> "References | None":
        """Those of `references=` and `baseline=`; `total` lines are wanted, where that is known by now.

        Raises:
            Mistake: a file that cannot be read, or of another number of lines.
        """
        if settings.references is None:
            return None
        names = settings.references if isinstance(settings.references, list) else [settings.references]
        streams = [_lines("references", name, total) for name in names]
        baseline = None if settings.baseline is None else _lines("baseline", settings.baseline, total)
        return cls(settings.references, streams, baseline, settings.bootstrap)

    def print_scores(self, texts: list[str]) -> None:
        """A line for each metric on standard error: score, half of the 95 % confidence interval, the baseline's, p of the
        difference (paired bootstrap, Koehn 2004), sacrebleu's signature."""
        for lines in (*self.streams, *([self.baseline] if self.baseline is not None else [])):
            if len(lines) != len(texts) or not texts:
                raise config.wrong(
                    "references", self.name, f"as many lines as the input had, {len(texts)}, not {len(lines)}"
                )
        for row in self._rows(texts):
            print(row, file=sys.stderr)

    def _rows(self, texts: list[str]) -> Iterator[str]:
        resamples = min(self.bootstrap, max(2, MOST_NUMBERS // (NUMBERS_A_LINE * len(texts))))
        for name, metric in metrics().items():
            if resamples < 2:
                found, signature = f"{metric.corpus_score(texts, self.streams).score:6.2f}", metric.get_signature()
            else:
                found, signature = self._resampled(texts, metric, resamples)
            yield f"{name:16}{found}  {signature}"

    def _resampled(self, texts: list[str], metric: Metric, resamples: int) -> tuple[str, Any]:
        """With confidence, and the baseline where there is one; by the test for pairs for one system too, since the
        metrics' own bootstrap fails where a resample scores 0."""
        systems: list[tuple[str, Sequence[str]]] = [("this", texts)]
        if self.baseline is not None:
            systems.insert(0, ("baseline", self.baseline))
        signatures, scores = PairedTest(systems, {"metric": metric}, self.streams, "bs", resamples)()
        (name,) = signatures
        *theirs, ours = cast(list[Result], scores[name])
        shown = f"{ours.score:6.2f} ± {ours.ci:5.2f}"
        for other in theirs:
            chance = 1.0 if ours.score == other.score else ours.p_value  # sacrebleu calls no difference significant
            shown += f"  baseline {other.score:6.2f} ± {other.ci:5.2f}  p {chance:.4f}"
        return shown, signatures[name]


def _lines(setting: str, name: str, total: int | None) -> list[str]:
    """The lines of a file, or of all files in a folder."""
    files = [str(path) for path, _ in paths_under(setting, name)]
    found = [on_one_line(line.removesuffix("\r")) for file in files for line in read_lines(setting, file)]
    if total is not None and len(found) != total:
        raise config.wrong(setting, name, f"a file of {total} lines like the input, not {len(found)}")
    return found
