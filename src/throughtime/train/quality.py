"""How good decoded texts are against their references: one function for each of `metrics.scores`."""

import ast
import io
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric, Score
from torchmetrics.functional.text import word_error_rate
from torchmetrics.functional.text.rouge import rouge_score

from throughtime import config

Texts = Sequence[str]
Measure = Callable[[Texts, Texts], float]  # of hypotheses and references


class ExactMatch(Metric):
    """The percentage of lines that equal one of their references, as a metric that sacrebleu can resample."""

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


METRICS: dict[str, Callable[[], Metric]] = {
    "bleu": partial(BLEU, force=True),  # without a warning about texts that look tokenized
    "bleu_lowercase": partial(BLEU, lowercase=True, force=True),
    **{f"bleu_{words}": partial(BLEU, tokenize=words, force=True) for words in ("intl", "zh", "char")},
    "chrf": CHRF,
    "ter": TER,
    "exact_match": ExactMatch,
}


def by_metric(name: str) -> Measure:
    """One of `METRICS`, 0 to 100, with sacrebleu's defaults."""
    return lambda hypotheses, references: METRICS[name]().corpus_score(list(hypotheses), [list(references)]).score


def token_error_rate(hypotheses: Texts, references: Texts) -> float:
    """Edits per white-space-separated token of the references; if these have none, the number of edits."""
    if not any(reference.split() for reference in references):
        return float(sum(len(hypothesis.split()) for hypothesis in hypotheses))
    return float(word_error_rate(list(hypotheses), list(references)))


def rouge(key: str) -> Measure:
    """ROUGE's F1 (Lin 2004) in percent: over words (`rouge1`), pairs of words (`rouge2`), the longest common subsequence
    (`rougeL`); lowercased, without stemming."""

    def score(hypotheses: Texts, references: Texts) -> float:
        return 100.0 * float(rouge_score(list(hypotheses), list(references), rouge_keys=key)[f"{key}_fmeasure"])

    return score


def parses(hypotheses: Texts, references: Texts) -> float:
    """The percentage of hypotheses that are valid Python; a block's head alone (`if x:`) counts, too."""
    return 100.0 * sum(map(is_python, hypotheses)) / len(hypotheses)


def is_python(text: str) -> bool:
    """Whether `ast` parses a text; an empty one does not count as Python."""
    code = text.strip()
    body = " pass" if code.endswith(":") else ""
    try:
        with warnings.catch_warnings(action="ignore"):  # about dubious escapes and comparisons
            return bool(ast.parse(code + body).body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # ValueError: a null character
        return False


def token_bleu(hypotheses: Texts, references: Texts) -> float:
    """BLEU over Python's own tokens, 0 to 100, which include those of line ends and indentation."""
    ours, theirs = ([" ".join(python_tokens(text)) for text in texts] for texts in (hypotheses, references))
    return BLEU(tokenize="none", force=True).corpus_score(ours, [theirs]).score


def python_tokens(text: str) -> list[str]:
    """The tokens of a Python text, as far as `tokenize` understands it; white space inside a token is shown as `_`."""
    return list(_python_tokens(text.strip()))


def _python_tokens(code: str) -> Iterator[str]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            yield "_".join(token.string.split()) or tokenize.tok_name[token.type]
    except (tokenize.TokenError, SyntaxError):
        return


MEASURES: dict[str, Measure] = {
    **{name: by_metric(name) for name in METRICS if name != "ter"},
    "token_error_rate": token_error_rate,
    **{key: rouge(key) for key in ("rouge1", "rouge2", "rougeL")},
    "token_bleu": token_bleu,
    "parses": parses,
}
LOWER_IS_BETTER = {"loss", "perplexity", "bits_per_token", "bits_per_character", "token_error_rate"}


def text_scores(choice: config.Metrics, hypotheses: Texts, references: Texts) -> dict[str, float]:
    """What `metrics.scores` asks for, by name."""
    return {score: MEASURES[score](hypotheses, references) for score in choice.scores}


def matches_by_kind(hypotheses: Texts, references: Texts, kinds: Texts) -> dict[str, float]:
    """`exact_match/<kind>` for each kind of row."""
    rows = list(zip(hypotheses, references, kinds, strict=True))
    parts = {kind: [row[:2] for row in rows if row[2] == kind] for kind in dict.fromkeys(kinds)}
    return {f"exact_match/{kind}": MEASURES["exact_match"](*zip(*part, strict=True)) for kind, part in parts.items()}


def direction(metric: str) -> str:
    """`max` or `min`: which values of a metric (with or without its split's prefix) are better."""
    return "min" if metric.removeprefix("val/").removeprefix("test/") in LOWER_IS_BETTER else "max"
