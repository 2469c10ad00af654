"""Settings that nothing reads because of others: a user who gives one is told that it changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from throughtime.config.data import has_own
from throughtime.config.decode_config import DecodeConfig
from throughtime.config.model import ConvolutionalEncoder, Gates
from throughtime.config.search import Beam, Search
from throughtime.config.train_config import TrainConfig, has_attention


@dataclass(frozen=True)
class Idle:
    """Settings, or whole groups, that do nothing with the current setting `now`, and what they are read with."""

    settings: tuple[str, ...]
    now: str
    read_with: str

    def of(self, setting: str) -> bool:
        """Whether the setting is among them."""
        return any(setting == one or setting.startswith(f"{one}.") for one in self.settings)

    def __str__(self) -> str:
        return f"does nothing with {self.now}; it is read with {self.read_with}"


def idle(config: TrainConfig | DecodeConfig) -> list[Idle]:
    """All idle settings."""
    found = _of_training(config) if isinstance(config, TrainConfig) else _of_decoding(config)
    return [*found, *_of_search(config.search)]


def _of_training(config: TrainConfig) -> Iterator[Idle]:
    model, data = config.model.name, config.data.name
    if model == "language_model":
        of_pairs = ("batch.tokens", "batch.longest", "decoding.sentences", "tokenizer.joint")
        yield Idle(of_pairs, f"data={data}", "data of pairs")
        yield Idle(("teacher",), f"model={model}", "model=encoder_decoder or prefix_lm")
        if config.tbptt.name == "off":
            yield Idle(("batch.restarts",), "tbptt=off", "a tbptt that cuts the text")
    else:
        columns = ("batch.columns", "batch.offset", "batch.restarts")
        of_text = (*columns, "decoding.prompts", "decoding.prompt_length", "sampling", "flow.steps")
        yield Idle(of_text, f"data={data}", "data of running text")
    if config.decoding.prompts is not None:
        yield Idle(("decoding.prompt_length",), "decoding.prompts=[...]", "decoding.prompts=null")
    if not config.flow.rows:
        yield Idle(("flow.steps",), "flow.rows=0", "more rows")
    for split in ("validation", "test"):
        if hasattr(config.data, f"{split}_share") and has_own(config.data, split):
            share = f"data.{split}_share"
            yield Idle((share,), f"a {split} split of its own", "one that is split off the training data")
    if model != "encoder_decoder":
        yield Idle(("encoder", "context"), f"model={model}", "model=encoder_decoder")
    elif isinstance(config.encoder, ConvolutionalEncoder):
        of_cells = ("encoder.cell", "model.bidirectional", "model.merge")
        yield Idle(of_cells, "encoder=convolutional", "encoder=recurrent")
    elif not config.model.bidirectional:
        yield Idle(("model.merge",), "model.bidirectional=false", "model.bidirectional=true")
    if not has_attention(config):
        yield Idle(("decoding.alignments",), "a model without attention", "an attention as context=")
    if isinstance(config.cell, Gates) and config.cell.chrono is not None:
        yield Idle(("cell.forget_bias",), f"cell.chrono={config.cell.chrono:g}", "cell.chrono=null")


def _of_decoding(config: DecodeConfig) -> Iterator[Idle]:
    if config.mode == "score":
        yield Idle(("search",), "mode=score", "mode=search")
    if config.shortlist.source is None:
        yield Idle(("shortlist.best", "shortlist.frequent"), "shortlist.source=null", "a text there")
    if config.language_model is None:
        yield Idle(("language_model_weight",), "language_model=null", "a checkpoint there")
    if config.references is None:
        yield Idle(("bootstrap",), "references=null", "texts there")


def _of_search(search: Search) -> Iterator[Idle]:
    if isinstance(search, Beam) and search.normalisation == "none":
        yield Idle(("search.alpha",), "search.normalisation=none", "search.normalisation=length or gnmt")
    if isinstance(search, Beam) and search.groups == 1:
        yield Idle(("search.diversity",), "search.groups=1", "more groups")
