"""Settings -> models."""

from torch import nn

from throughtime import config
from throughtime.build.cells import cell_maker
from throughtime.build.dropout import rates
from throughtime.data.tokenizer import PAD
from throughtime.nn.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    LocationAttention,
    MultiheadAttention,
)
from throughtime.nn.bridge import Bridge, Summary
from throughtime.nn.decoder import Decoder, Form
from throughtime.nn.encoder import ConvolutionalReader, Encoder, Reader, RecurrentReader
from throughtime.nn.models import EncoderDecoder, LanguageModel, PrefixModel
from throughtime.nn.products import Linear
from throughtime.nn.readout import Readout
from throughtime.nn.stack import Stack


def model(settings: config.TrainConfig, vocabulary: dict[str, int]) -> nn.Module:
    """The model of `model=`; `vocabulary` gives the sizes of `text`, or of `source` and `target`."""
    if settings.model.name == "prefix_lm":
        return PrefixModel(_language_model(settings, vocabulary["target"]))
    if isinstance(settings.model, config.LanguageModelShape):
        return _language_model(settings, vocabulary["text"])
    return _encoder_decoder(settings, vocabulary["source"], vocabulary["target"])


def _language_model(settings: config.TrainConfig, vocabulary: int) -> LanguageModel:
    shape, dropped = settings.model, rates(settings.dropout)
    stack = Stack(
        cell_maker(settings.cell),
        shape.embedding,
        config.widths(shape),
        rates=dropped,
        engine=settings.engine,
        residual=shape.residual,
        learned_state=shape.learned_state,
    )
    embedding = _embedding(vocabulary, shape.embedding)
    return LanguageModel(embedding, stack, _output(embedding, stack.width, shape.tied), dropped)


def _encoder_decoder(settings: config.TrainConfig, source: int, target: int) -> EncoderDecoder:
    shape, dropped = settings.model, rates(settings.dropout)
    assert isinstance(shape, config.EncoderDecoderShape)
    reader, target_embedding = _reader(settings, shape), _embedding(target, shape.embedding)
    source_embedding = target_embedding if shape.shared_embedding else _embedding(source, shape.embedding)
    decoder = _decoder(settings, shape, reader, target_embedding)
    encoder = Encoder(source_embedding, reader, dropped, settings.encoder.reverse_source)
    return EncoderDecoder(encoder, decoder, _output(target_embedding, decoder.width, shape.tied), dropped)


def _reader(settings: config.TrainConfig, shape: config.EncoderDecoderShape) -> Reader:
    """The encoder of `encoder=`."""
    choice, widths, dropped = settings.encoder, config.encoder_widths(settings), rates(settings.dropout)
    if isinstance(choice, config.ConvolutionalEncoder):
        return ConvolutionalReader(shape.embedding, widths[0], choice.depth, choice.window, choice.layers, dropped)
    stack = Stack(
        cell_maker(config.encoder_cell(settings)),
        shape.embedding,
        widths,
        shape.bidirectional,
        dropped,
        settings.engine,
        residual=shape.residual,
        merge=shape.merge,
        learned_state=shape.learned_state,
    )
    return RecurrentReader(stack, choice.layers)


def _decoder(
    settings: config.TrainConfig, shape: config.EncoderDecoderShape, reader: Reader, embedding: nn.Embedding
) -> Decoder:
    dropped, features = rates(settings.dropout), shape.embedding
    hidden, form = config.output_width(settings.cell, shape.hidden), _form(shape, settings.context)
    context = _context(settings.context, shape, hidden, reader)
    seen = context.width if context else 0
    readout = Readout(
        shape.readout,
        hidden,
        seen if form.reads_context else 0,
        features if form.reads_words else 0,
        features if shape.tied else hidden,
    )
    sees_context = form.query_before or isinstance(context, Summary)
    read = features + (seen if sees_context else 0) + (readout.width if form.input_feeding else 0)
    stack = Stack(
        cell_maker(settings.cell),
        read,
        config.widths(shape),
        rates=dropped,
        engine=settings.engine,
        residual=shape.residual,
    )
    return Decoder(embedding, stack, Bridge(shape.bridge, reader.sizes, stack), context, readout, form, dropped)


def _form(shape: config.EncoderDecoderShape, choice: config.Context) -> Form:
    words = shape.readout != "plain" or choice.name == "every_step_output"
    if isinstance(choice, config.SummaryContext):
        return Form(reads_context=choice.name == "every_step_output", reads_words=words)
    return Form(choice.query == "before", choice.input_feeding, reads_context=True, reads_words=words)


def _context(
    choice: config.Context, shape: config.EncoderDecoderShape, hidden: int, reader: Reader
) -> Attention | Summary | None:
    """What a decoder, `hidden` wide, sees of the source beyond its first state, by `context=`."""
    match choice:
        case config.SummaryContext():
            return None if choice.name == "initial_state" else Summary(reader.sizes, shape.hidden)
        case config.LocationContext():
            return LocationAttention(hidden, reader.width, choice.channels, choice.window)
        case config.MultiheadContext():
            return MultiheadAttention(hidden, reader.width, choice.heads)
        case _:
            if choice.name == "dot":
                return DotAttention(reader.width)
            kinds = {"general": GeneralAttention, "additive": AdditiveAttention}
            return kinds[choice.name](hidden, reader.width)


def _embedding(vocabulary: int, features: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary, features, padding_idx=PAD)
    nn.init.normal_(embedding.weight, std=features**-0.5)
    return embedding


def _output(embedding: nn.Embedding, hidden: int, tied: bool) -> nn.Linear:
    """The last layer, with the weights of the first where `tied` (Press and Wolf 2017)."""
    output = Linear(hidden, embedding.num_embeddings)
    nn.init.zeros_(output.bias)
    if tied:
        output.weight = embedding.weight
    return output
