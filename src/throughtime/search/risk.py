"""Minimum Bayes risk (Kumar and Byrne 2004; with samples, Eikema and Aziz 2020): the hypothesis that is most similar to
the others on average."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from sacrebleu.metrics import BLEU, CHRF

from throughtime.search.score import Hypothesis

Write = Callable[[Sequence[int]], str]


def minimum_bayes_risk(
    samples: Sequence[Hypothesis], utility: Literal["chrf", "bleu"], write: Write
) -> list[Hypothesis]:
    """The distinct samples of a row, sorted by expected utility, which becomes their score, the highest first; of
    equals, the more probable first.

    The utility of a text is its sentence chrF or BLEU (smoothed by `exp`), 0 to 100, against each sample's text; the
    expectation is over all samples, each as often as it was drawn. `write` turns tokens into text.
    """
    metric = CHRF() if utility == "chrf" else BLEU(effective_order=True)
    texts = [write(sample.tokens) for sample in samples]
    drawn = Counter(texts)
    candidates = dict(zip(reversed(texts), reversed(samples), strict=True))
    expected = {
        text: round(
            sum(often * metric.sentence_score(text, [other]).score for other, often in drawn.items()) / len(texts), 9
        )
        for text in candidates
    }
    return [
        replace(candidates[text], score=expected[text])
        for text in sorted(candidates, key=lambda text: (-expected[text], -candidates[text].log_probability))
    ]
