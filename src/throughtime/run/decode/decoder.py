"""A checkpoint ready to decode: lines of bytes -> answers."""

import hashlib
from pathlib import Path

import torch

from throughtime import build, config
from throughtime.data.tokenizer import Tokenizer
from throughtime.nn.models import LanguageModel
from throughtime.run.decode.answers import NOTHING, Answer, as_json, as_text, described, gives_several, read_back
from throughtime.run.decode.questions import Question, encoded, question
from throughtime.run.decode.reading import Block
from throughtime.run.decode.sources import Source
from throughtime.search import Demands, Hypothesis, banned, search, stepper_of


class Decoder:
    """Answers batches of lines by the search of `search=`.

    A batch draws from a generator of its own, seeded by its first line, so that its answers are the same whichever
    process decodes it, and after whatever was decoded before.
    """

    def __init__(self, settings: config.DecodeConfig, paths: list[Path], device: torch.device):
        found = build.from_checkpoints(paths, settings.allow_code)
        self._settings, self._stepper = settings, stepper_of(found.model.to(device))
        self._several = gives_several(settings.search)
        self._continues = isinstance(found.model, LanguageModel)
        self._reads: Tokenizer = found.tokenizers["text" if self._continues else "source"]
        self._writes: Tokenizer = found.tokenizers["text" if self._continues else "target"]

        self._demands = Demands(banned=banned(settings.search, self._writes.encode))

    def answer(self, source: Source, batch: Block) -> list[Answer]:
        """One answer a line, in order."""
        asked = [question(line, source.reads_json) for line in batch]
        ids = [encoded(self._reads, one, self._settings.longest, self._continues) for one in asked]
        found = self._searched(asked, ids)
        return [self._answer(source, one, hypotheses) for one, hypotheses in zip(asked, found, strict=True)]

    def _searched(self, asked: list[Question], ids: list[list[int]]) -> list[list[Hypothesis]]:
        """The hypotheses of each row; a language model can go on from nothing, a translator has nothing to translate."""
        rows = [place for place, row in enumerate(ids) if self._continues or (row and not asked[place].text.isspace())]
        found = [[NOTHING] for _ in ids]
        if rows:
            random = _seeded(self._settings.seed, asked[0].place)
            batch = [ids[row] for row in rows]
            results = search(self._settings.search, self._stepper, batch, random, self._demands)
            for row, hypotheses in zip(rows, results, strict=True):
                found[row] = hypotheses
        return found

    def _answer(self, source: Source, asked: Question, found: list[Hypothesis]) -> Answer:
        hypotheses = described(found, self._writes)
        result = {"line": asked.place, "source": asked.text, "hypotheses": hypotheses}
        written = as_json(result) if source.writes_json else as_text(result, self._several)
        best = hypotheses[0]["text"]
        return Answer(asked.place, written, best if source.writes_json else read_back(best), asked.remarks)


def _seeded(seed: int, place: int) -> torch.Generator:
    """A generator of its own for each seed and place."""
    digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
