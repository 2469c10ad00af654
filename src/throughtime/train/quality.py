"""How good decoded texts are against their references."""

from collections.abc import Sequence

import sacrebleu
from torchmetrics.functional.text import word_error_rate


def text_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """`exact_match`, `bleu` and `chrf` in percent (sacrebleu's defaults), `token_error_rate` as edits per
    white-space-separated reference token."""
    matches = sum(ours == theirs for ours, theirs in zip(hypotheses, references, strict=True))
    return {
        "exact_match": 100.0 * matches / len(references),
        "bleu": sacrebleu.corpus_bleu(list(hypotheses), [list(references)]).score,
        "chrf": sacrebleu.corpus_chrf(list(hypotheses), [list(references)]).score,
        "token_error_rate": float(word_error_rate(list(hypotheses), list(references))),
    }


HIGHER_IS_BETTER = {"exact_match", "bleu", "chrf"}


def direction(metric: str) -> str:
    """`max` or `min`: where the better values of a metric (with or without its split's prefix) lie."""
    return "max" if metric.rpartition("/")[2] in HIGHER_IS_BETTER else "min"
