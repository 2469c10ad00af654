"""`mode=search`: lines are answered with what the model produces for them."""

import hashlib
from typing import NamedTuple

import torch

from throughtime import attention_grid, config
from throughtime.run.decode import alignment
from throughtime.run.decode.answers import NOTHING, Answer, as_json, as_text, described, gives_several, read_back
from throughtime.run.decode.loading import Loaded
from throughtime.run.decode.questions import Question, Remarks, encoded, question
from throughtime.run.decode.reading import Block
from throughtime.run.decode.sources import Source
from throughtime.search import Demands, Hypothesis, banned, contained, search


class Demand(NamedTuple):
    """What the hypotheses of one line must begin with and contain, as ids."""

    prefix: list[int]
    phrases: list[list[int]]


class Request(NamedTuple):
    """A question with the `ids` of its text; without a `demand` there is nothing to search for."""

    asked: Question
    ids: list[int]
    demand: Demand | None
    remarks: Remarks


class Searcher:
    """Answers batches of lines by the search of `search=`.

    A batch has a random generator of its own, seeded by the place of its first line, so that its answers are the same
    whichever process decodes it, and whatever was decoded before.
    """

    def __init__(self, settings: config.DecodeConfig, loaded: Loaded):
        self._settings, self._loaded = settings, loaded
        self._banned = banned(settings.search, loaded.writes.encode)
        self._contained = contained(settings.search, loaded.writes.encode)
        self._takes_phrases = isinstance(settings.search, config.Beam) and settings.search.groups == 1
        self._several = gives_several(settings.search)

    def answer(self, source: Source, batch: Block) -> list[Answer]:
        """One answer per line, in order."""
        requests = [self._request(question(line, source, pairs=False)) for line in batch]
        hypotheses = self._searched(requests)
        results = [self._result(*row) for row in zip(requests, hypotheses, strict=True)]
        if self._settings.attention != "none":
            ids = [request.ids for request in requests]
            alignment.add(results, self._loaded, ids, hypotheses, self._settings.attention)
        return [self._answer(source, *row) for row in zip(requests, results, strict=True)]

    def _request(self, asked: Question) -> Request:
        """The question as ids. An empty text can be continued by a language model, but not be translated."""
        loaded, longest = self._loaded, self._settings.longest
        ids, remarks = encoded(loaded.reads, asked.text, longest, loaded.continues)
        if not loaded.continues and (not ids or asked.text.isspace()):
            return Request(asked, ids, None, [*asked.remarks, *remarks])
        prefix, of_prefix = encoded(loaded.writes, asked.prefix, longest)
        phrases, of_phrases = self._phrases(asked.contains)
        return Request(asked, ids, Demand(prefix, phrases), [*asked.remarks, *remarks, *of_prefix, *of_phrases])

    def _phrases(self, texts: list[str]) -> tuple[list[list[int]], Remarks]:
        """The ids of the texts that a hypothesis must contain."""
        if texts and not self._takes_phrases:
            return [], ["asks for texts to be contained, for which there is search=beam with one group."]
        phrases = [encoded(self._loaded.writes, text, self._settings.longest) for text in texts]
        return [ids for ids, _ in phrases if ids], [remark for _, remarks in phrases for remark in remarks]

    def _searched(self, requests: list[Request]) -> list[list[Hypothesis]]:
        """The hypotheses for each request."""
        searched = [(request.ids, request.demand) for request in requests if request.demand is not None]
        if not searched:
            return [[NOTHING] for _ in requests]
        loaded, random = self._loaded, _seeded(self._settings.seed, requests[0].asked.place)
        batch, demands = [ids for ids, _ in searched], self._demands([demand for _, demand in searched])
        choice = self._settings.search
        found = search(choice, loaded.stepper, batch, random, demands, loaded.writes.decode, loaded.shortlist)
        in_turn = iter(found)
        return [[NOTHING] if request.demand is None else next(in_turn) for request in requests]

    def _demands(self, own: list[Demand]) -> Demands:
        """What each line demands, and what the settings demand of all hypotheses."""
        phrases = [demand.phrases for demand in own] if self._takes_phrases else []
        return Demands([demand.prefix for demand in own], phrases, self._contained, self._banned)

    def _result(self, request: Request, hypotheses: list[Hypothesis]) -> dict[str, object]:
        asked = request.asked
        return {"line": asked.place, "source": asked.text, "hypotheses": described(hypotheses, self._loaded.writes)}

    def _answer(self, source: Source, request: Request, result: dict) -> Answer:
        best = result["hypotheses"][0]
        if self._settings.attention == "image":
            alignment.draw(result, source)
        written = as_json(result) if source.writes_json else as_text(result, self._several)
        if self._settings.attention == "text" and not source.writes_json:
            written += attention_grid.text(result["source_tokens"], alignment.rows(best), best["attention"])
        text = best["text"] if source.writes_json else read_back(best["text"])
        return Answer(request.asked.place, written, text, request.remarks)


def _seeded(seed: int, place: int) -> torch.Generator:
    """A generator of its own for each seed and place."""
    digest = hashlib.sha256(f"{seed} {place}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))
