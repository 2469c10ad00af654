"""How good decoded texts are against their references: one function for each of `metrics.scores`."""

import ast
import io
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence

import sacrebleu
from torchmetrics.functional.text import word_error_rate
from torchmetrics.functional.text.rouge import rouge_score

from throughtime import config

Texts = Sequence[str]
Measure = Callable[[Texts, Texts], float]  # of hypotheses and references


def exact_match(hypotheses: Texts, references: Texts) -> float:
    """Percent of texts that equal their reference."""
    return 100.0 * sum(ours == theirs for ours, theirs in zip(hypotheses, references, strict=True)) / len(references)


def bleu(hypotheses: Texts, references: Texts, lowercase: bool = False) -> float:
    """sacrebleu's BLEU with its defaults, 0 to 100."""
    return sacrebleu.corpus_bleu(list(hypotheses), [list(references)], lowercase=lowercase).score


def chrf(hypotheses: Texts, references: Texts) -> float:
    """sacrebleu's chrF with its defaults, 0 to 100."""
    return sacrebleu.corpus_chrf(list(hypotheses), [list(references)]).score


def token_error_rate(hypotheses: Texts, references: Texts) -> float:
    """Edits per white-space-separated token of the references."""
    return float(word_error_rate(list(hypotheses), list(references)))


def rouge(key: str) -> Measure:
    """ROUGE's F1 (Lin 2004) in percent: over words (`rouge1`), pairs of words (`rouge2`), the longest common subsequence
    (`rougeL`); lowercased, without stemming."""

    def score(hypotheses: Texts, references: Texts) -> float:
        return 100.0 * float(rouge_score(list(hypotheses), list(references), rouge_keys=key)[f"{key}_fmeasure"])

    return score


def parses(hypotheses: Texts, references: Texts) -> float:
    """Percent of the hypotheses that are Python; the head of a block alone (`if x:`) is taken for one."""
    return 100.0 * sum(map(is_python, hypotheses)) / len(hypotheses)


def is_python(text: str) -> bool:
    """Whether `ast` parses a text; an empty one is no Python here."""
    code = text.strip()
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes and comparisons in doubtful taste
            return bool(ast.parse(code + " pass" * code.endswith(":")).body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # ValueError: a null character
        return False


def token_bleu(hypotheses: Texts, references: Texts) -> float:
    """BLEU over Python's own tokens, 0 to 100; where lines begin, end and are indented counts too."""
    ours, theirs = ([" ".join(python_tokens(text)) for text in texts] for texts in (hypotheses, references))
    return sacrebleu.corpus_bleu(ours, [theirs], tokenize="none", force=True).score


def python_tokens(text: str) -> list[str]:
    """The tokens of a Python text, as far as `tokenize` understands it; white space inside a token is shown as `_`."""
    return list(_python_tokens(text.strip()))


def _python_tokens(code: str) -> Iterator[str]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            yield "_".join(token.string.split()) or tokenize.tok_name[token.type]
    except (tokenize.TokenError, SyntaxError):
        return


MEASURES: dict[config.Score, Measure] = {
    "exact_match": exact_match,
    "bleu": bleu,
    "bleu_lowercase": lambda hypotheses, references: bleu(hypotheses, references, lowercase=True),
    "chrf": chrf,
    "token_error_rate": token_error_rate,
    "rouge1": rouge("rouge1"),
    "rouge2": rouge("rouge2"),
    "rougeL": rouge("rougeL"),
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
    return {f"exact_match/{kind}": exact_match(*zip(*part, strict=True)) for kind, part in parts.items()}


def direction(metric: str) -> str:
    """`max` or `min`: where the better values of a metric (with or without its split's prefix) lie."""
    return "min" if metric.removeprefix("val/").removeprefix("test/") in LOWER_IS_BETTER else "max"
