"""`dropout=` -> how much is dropped where."""

from throughtime import config
from throughtime.nn.dropout import Rates


def rates(choice: config.Dropout) -> Rates:
    """The rates of `dropout=`."""
    match choice:
        case config.Awd():
            return Rates(choice.words, choice.inputs, choice.between, choice.outputs, choice.weights, locked=True)
        case config.Variational():
            return Rates(choice.words, choice.rate, choice.rate, choice.rate, locked=True, state=choice.state)
        case config.Zoneout():
            return _between_layers(choice.rate)._replace(zoneout=(choice.output, choice.memory))
        case config.RecurrentDropout():
            return _between_layers(choice.rate)._replace(candidate=choice.candidate)
        case config.Zaremba():
            return _between_layers(choice.rate)
        case _:
            return Rates()


def _between_layers(rate: float) -> Rates:
    return Rates(inputs=rate, between=rate, outputs=rate)
