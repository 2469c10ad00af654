"""The Lightning side of a prepared corpus: which loader serves which split on which rank."""

from typing import Any

import lightning

from throughtime import config
from throughtime.data.pairs import PairLoader, open_pairs
from throughtime.data.prepare import Prepared
from throughtime.data.stream import ChunkLoader, open_stream


class StreamModule(lightning.LightningDataModule):
    """Chunks of text columns; evaluation runs through its text in chunks too, whatever training does."""

    EVALUATION_CHUNK = 128

    def __init__(self, prepared: Prepared, batch: config.Batch, chunk: int | None):
        super().__init__()
        self.prepared, self._batch, self._chunk = prepared, batch, chunk

    def train_dataloader(self) -> ChunkLoader:
        return self._loader("train", self._chunk)

    def val_dataloader(self) -> ChunkLoader:
        return self._loader("validation", self.EVALUATION_CHUNK)

    def test_dataloader(self) -> ChunkLoader:
        return self._loader("test", self.EVALUATION_CHUNK)

    def _loader(self, split: str, chunk: int | None) -> ChunkLoader:
        text = open_stream(self.prepared.folder / f"{split}.bin", self.prepared.tokenizers["text"].size)
        return ChunkLoader(text, self._batch.columns, chunk, *_place(self.trainer))


class PairModule(lightning.LightningDataModule):
    """Buckets of pairs; training leaves out the longest, evaluation none."""

    def __init__(self, prepared: Prepared, batch: config.Batch, seed: int):
        super().__init__()
        self.prepared, self._batch, self._seed = prepared, batch, seed

    def train_dataloader(self) -> PairLoader:
        rank, world = _place(self.trainer)
        pairs = open_pairs(self.prepared.folder / "train")
        loader = PairLoader(pairs, self._batch.tokens, self._batch.longest, self._seed, rank, world)
        if not len(loader):
            raise config.wrong("batch.longest", self._batch.longest, "the length of some training pair at least")
        return loader

    def val_dataloader(self) -> PairLoader:
        return self._evaluation("validation")

    def test_dataloader(self) -> PairLoader:
        return self._evaluation("test")

    def _evaluation(self, split: str) -> PairLoader:
        rank, world = _place(self.trainer)
        return PairLoader(open_pairs(self.prepared.folder / split), self._batch.tokens, rank=rank, world=world)


def _place(trainer: Any) -> tuple[int, int]:
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
