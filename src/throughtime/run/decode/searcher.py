"""`mode=search`: lines are answered with what the model produces for them."""

import hashlib

import torch

from throughtime import attention_grid, config
from throughtime.run.decode import alignment
from throughtime.run.decode.answers import NOTHING, Answer, as_json, as_text, described, gives_several, read_back
from throughtime.run.decode.loading import Loaded
from throughtime.run.decode.questions import Question, encoded, question
from throughtime.run.decode.reading import Block
from throughtime.run.decode.sources import Source
from throughtime.search import Demands, Hypothesis, banned, contained, search


class Searcher:
    """Answers batches of lines by the search of `search=`.

    A batch has a random generator of its own, seeded by the place of its first line, so that its answers are the same
    whichever process decodes it, and whatever was decoded before.
    """

    def __init__(self, settings: config.DecodeConfig, loaded: Loaded):
        self._settings, self._loaded = settings, loaded
        self._banned = banned(settings.search, loaded.writes.encode)
        self._contained = contained(settings.search, loaded.writes.encode)
        self._several = gives_several(settings.search)

    def answer(self, source: Source, batch: Block) -> list[Answer]:
        """One answer per line, in order."""
        loaded, longest = self._loaded, self._settings.longest
        asked = [question(line, source, pairs=False) for line in batch]
        ids = [encoded(loaded.reads, one.text, one, longest, loaded.continues) for one in asked]
        found = self._searched(asked, ids)
        results = [self._result(*row) for row in zip(asked, found, strict=True)]
        if self._settings.attention != "none":
            alignment.add(results, loaded, ids, found, self._settings.attention)
        return [self._answer(source, one, result) for one, result in zip(asked, results, strict=True)]

    def _searched(self, asked: list[Question], ids: list[list[int]]) -> list[list[Hypothesis]]:
        """The hypotheses of each row; an empty one can be continued by a language model, but not be translated."""
        rows = [row for row, one in enumerate(asked) if self._loaded.continues or (ids[row] and not one.text.isspace())]
        found = [[NOTHING] for _ in ids]
        if rows:
            demands = self._demands([asked[row] for row in rows])
            random = _seeded(self._settings.seed, asked[0].place)
            batch = [ids[row] for row in rows]
            loaded, choice = self._loaded, self._settings.search
            results = search(choice, loaded.stepper, batch, random, demands, loaded.writes.decode, loaded.shortlist)
            for row, hypotheses in zip(rows, results, strict=True):
                found[row] = hypotheses
        return found

    def _demands(self, asked: list[Question]) -> Demands:
        """What the settings demand of all hypotheses, and each line of its own."""
        writes, longest, choice = self._loaded.writes, self._settings.longest, self._settings.search
        prefixes = [encoded(writes, one.prefix, one, longest) for one in asked]
        phrases: list[list[list[int]]] = []
        if isinstance(choice, config.Beam) and choice.groups == 1:
            texts = ([encoded(writes, text, one, longest) for text in one.contains] for one in asked)
            phrases = [list(filter(None, row)) for row in texts]
        else:
            for one in asked:
                if one.contains:
                    one.remarks.append("asks for texts to be contained, for which there is search=beam with one group.")
        return Demands(prefixes, phrases, self._contained, self._banned)

    def _result(self, asked: Question, found: list[Hypothesis]) -> dict[str, object]:
        return {"line": asked.place, "source": asked.text, "hypotheses": described(found, self._loaded.writes)}

    def _answer(self, source: Source, asked: Question, result: dict) -> Answer:
        best = result["hypotheses"][0]
        if self._settings.attention == "image":
            alignment.draw(result, source)
        written = as_json(result) if source.writes_json else as_text(result, self._several)
        if self._settings.attention == "text" and not source.writes_json:
            written += attention_grid.text(result["source_tokens"], alignment.rows(best), best["attention"])
        return Answer(
            asked.place, written, best["text"] if source.writes_json else read_back(best["text"]), asked.remarks
        )


def _seeded(seed: int, place: int) -> torch.Generator:
    """A generator of its own for each seed and place."""
    digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
