"""An encoder-decoder, or a model that continues a prefix, on pairs."""

from typing import Any

from throughtime import config
from throughtime.data.batch import PairBatch
from throughtime.nn.models import EncoderDecoder, PrefixModel
from throughtime.train import teacher
from throughtime.train.loss import Losses
from throughtime.train.output_loss import output_loss
from throughtime.train.task import Task


class PairTask(Task):
    """In training the decoder reads what `teacher=` feeds it, and its gradient through time is cut every `chunk` target
    steps; in evaluation it reads the target."""

    model: EncoderDecoder | PrefixModel

    def losses(self, batch: PairBatch, split: str) -> Losses:
        tokens, tbptt, choice = batch.tokens, self._settings.tbptt, self._settings.teacher
        options: dict[str, Any] = {}
        if split == "train":
            tokens = teacher.with_unknown(tokens, choice.word_dropout)
            options["chunk"] = tbptt.chunk if isinstance(tbptt, config.FixedChunks) else None
        if split == "train" and (share := teacher.own_share(choice, self.global_step)):
            options["own"] = teacher.some_places(tokens, share)
        features = self.model.features(batch.source, batch.source_lengths, tokens, **options)
        return output_loss(self.model.output, features, batch.targets, self._settings.loss.label_smoothing)
