"""The Lightning side of a prepared corpus: which loader serves which split on which rank."""

import sys
from pathlib import Path
from typing import Any

import lightning
import numpy as np

from throughtime import config
from throughtime.data.pairs import PairLoader, open_pairs
from throughtime.data.prepare import Prepared
from throughtime.data.stream import ChunkLoader, open_documents, open_stream


class _Resumable(lightning.LightningDataModule):
    """Saves the training loader's position with the checkpoint, from which the next training loader continues."""

    def __init__(self) -> None:
        super().__init__()
        self._training: ChunkLoader | PairLoader | None = None
        self._position: dict[str, int] = {}

    def _resumed(self, loader: Any) -> Any:
        if self._position:
            loader.load_state_dict(self._position)
        self._training = loader
        return loader

    def state_dict(self) -> dict[str, int]:
        return self._training.state_dict() if self._training else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._position = state_dict


class StreamModule(_Resumable):
    """Chunks of text columns. Evaluation runs through its text in chunks too, whatever training does; of what length
    matters only to a test with `evaluation=dynamic`."""

    CHUNK = 128  # steps

    def __init__(
        self, prepared: Prepared, batch: config.Batch, tbptt: config.Tbptt, seed: int, evaluation: config.Evaluation
    ):
        super().__init__()
        self.prepared, self._batch, self._tbptt, self._seed = prepared, batch, tbptt, seed
        self._test_chunk = evaluation.chunk if isinstance(evaluation, config.DynamicEvaluation) else self.CHUNK

    def train_dataloader(self) -> ChunkLoader:
        turned = {"offset": self._batch.offset, "seed": self._seed}
        return self._resumed(self._loader("train", self._batch.columns, self._tbptt, **turned))

    def val_dataloader(self) -> ChunkLoader:
        return self._evaluation("validation", self.CHUNK)

    def test_dataloader(self) -> ChunkLoader:
        return self._evaluation("test", self._test_chunk)

    def _evaluation(self, split: str, chunk: int) -> ChunkLoader:
        (_, world), cuts = _place(self.trainer), config.FixedChunks("fixed", chunk)
        return self._loader(split, min(self._batch.columns, max(1, len(self._text(split)) // world)), cuts)

    def _loader(self, split: str, columns: int, tbptt: config.Tbptt, **turned: Any) -> ChunkLoader:
        turned |= {"documents": open_documents(self._path(split)), "reset": self._batch.documents == "reset"}
        return ChunkLoader(self._text(split), columns, tbptt, *_place(self.trainer), **turned)

    def _text(self, split: str) -> np.ndarray[Any, Any]:
        return open_stream(self._path(split), self.prepared.tokenizers["text"].size)

    def _path(self, split: str) -> Path:
        return self.prepared.folder / f"{split}.bin"


class PairModule(_Resumable):
    """Buckets of pairs; training leaves out the longest, evaluation none."""

    def __init__(self, prepared: Prepared, batch: config.Batch, seed: int):
        super().__init__()
        self.prepared, self._batch, self._seed = prepared, batch, seed

    def train_dataloader(self) -> PairLoader:
        rank, world = _place(self.trainer)
        pairs = open_pairs(self.prepared.folder / "train")
        loader = PairLoader(pairs, self._batch.tokens, self._batch.longest, self._seed, rank, world)
        if not loader.batches:
            raise config.wrong("batch.longest", self._batch.longest, "the length of some training pair at least")
        if loader.batches < world:
            allowed = f"at most {loader.batches}, one for each batch of training pairs"
            raise config.wrong("trainer.devices", world, allowed)
        if loader.left_out and not rank:
            share = f"{loader.left_out:,} of {len(pairs):,} training pairs"
            print(
                f"note: {share} have a side of more than batch.longest={self._batch.longest} tokens.", file=sys.stderr
            )
        return self._resumed(loader)

    def val_dataloader(self) -> PairLoader:
        return self._evaluation("validation")

    def test_dataloader(self) -> PairLoader:
        return self._evaluation("test")

    def _evaluation(self, split: str) -> PairLoader:
        (rank, world), pairs = _place(self.trainer), open_pairs(self.prepared.folder / split)
        if len(pairs) < world:
            raise config.wrong(
                "trainer.devices", world, f"at most {len(pairs)}, one for each pair of the {split} split"
            )
        return PairLoader(pairs, self._batch.tokens, rank=rank, world=world)


def _place(trainer: Any) -> tuple[int, int]:
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
