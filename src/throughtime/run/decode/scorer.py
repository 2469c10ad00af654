"""`mode=score`: lines are answered by how probable the model finds them, token by token."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from throughtime import config
from throughtime.attention_grid import END
from throughtime.data.tokenizer import EOS
from throughtime.run.decode.answers import Answer, as_json
from throughtime.run.decode.loading import Loaded
from throughtime.run.decode.questions import Question, Remarks, encoded, question
from throughtime.run.decode.reading import Block
from throughtime.run.decode.sources import Source
from throughtime.search import force
from throughtime.train.loss import perplexity


class Request(NamedTuple):
    """A question as ids: what the model reads, and what is scored."""

    asked: Question
    read: list[int]
    scored: list[int]
    remarks: Remarks


class Scorer:
    """Answers batches of pairs: log p(target, eos | source); or, by a language model, of texts: log p(text, eos | bos),
    without eos where it has learned longer texts than a line."""

    def __init__(self, settings: config.DecodeConfig, loaded: Loaded):
        if loaded.continues and settings.targets is not None:
            raise config.wrong("targets", settings.targets, "null with a language model, which scores the input alone")
        self._settings, self._loaded = settings, loaded

    def answer(self, source: Source, batch: Block) -> list[Answer]:
        """One answer a line, in order."""
        pairs = not self._loaded.continues
        requests = [self._request(question(line, source, pairs)) for line in batch]
        sources, targets = [request.read for request in requests], [request.scored for request in requests]
        scored = force(self._loaded.stepper, sources, targets)
        rows = zip(requests, scored, strict=True)
        return [self._answer(source, request, forced.log_probabilities) for request, forced in rows]

    def _request(self, asked: Question) -> Request:
        """The question as ids; a language model reads nothing before the text that is scored."""
        longest = self._settings.longest
        text, of_text = encoded(self._loaded.reads, asked.text, longest)
        if self._loaded.continues:
            scored = [*text, EOS] if self._loaded.ends else text
            return Request(asked, [], scored, [*asked.remarks, *of_text])
        target, of_target = encoded(self._loaded.writes, asked.target, longest)
        return Request(asked, text, [*target, EOS], [*asked.remarks, *of_text, *of_target])

    def _answer(self, source: Source, request: Request, scores: list[float]) -> Answer:
        asked = request.asked
        total, length = sum(scores), len(scores)
        normalised = total / max(1, length)
        texts = {"text": asked.text} if self._loaded.continues else {"source": asked.text, "target": asked.target}
        result = {
            "line": asked.place,
            **texts,
            "log_probability": total,
            "length": length,
            "normalised_score": normalised,
            "perplexity": perplexity(-normalised),
            "tokens": [END if token == EOS else self._loaded.writes.decode([token]) for token in request.scored],
            "token_log_probabilities": scores,
        }
        written = as_json(result) if source.writes_json else _as_text(result)
        return Answer(asked.place, written, (total, length), request.remarks)


def _as_text(result: dict[str, Any]) -> str:
    """Log-probability, length, perplexity, and the log-probabilities of the tokens, between tabs."""
    tokens = " ".join(f"{score:.4f}" for score in result["token_log_probabilities"])
    return f"{result['log_probability']:.6f}\t{result['length']}\t{result['perplexity']:.4f}\t{tokens}\n"


class Total:
    """Adds up the lines of a job."""

    def __init__(self) -> None:
        self._lines, self._tokens, self._log_probability = 0, 0, 0.0

    def take_up(self, written: Iterable[bytes], source: Source) -> None:
        """Counts the lines that an earlier job wrote."""
        for line in written:
            if source.writes_json:
                row = json.loads(line)
                self._count(row["log_probability"], row["length"])
            else:
                log_probability, length, *_ = line.split(b"\t")
                self._count(float(log_probability), int(length))

    def add(self, answers: Sequence[Answer]) -> None:
        """Counts answers."""
        for answer in answers:
            self._count(*answer.gist)

    def _count(self, log_probability: float, length: int) -> None:
        self._lines += 1
        self._tokens += length
        self._log_probability += log_probability

    def report(self) -> None:
        """The perplexity of all lines together, on standard error."""
        counts = f"lines {self._lines:,}  tokens {self._tokens:,}"
        overall = perplexity(-self._log_probability / max(1, self._tokens))
        print(f"{counts}  log-probability {self._log_probability:.4f}  perplexity {overall:.4f}", file=sys.stderr)
