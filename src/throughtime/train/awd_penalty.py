"""What AWD adds to the loss of a language model."""

from torch import Tensor

from throughtime import config


def awd_penalty(
    outputs: Tensor, dropped: Tensor, choice: config.Dropout, before: Tensor | None = None, whole: int | None = None
) -> Tensor:
    """What AWD adds to the loss: alpha times the mean square of the dropped outputs, and beta times that of the outputs'
    differences from step to step (Merity et al. 2017, section 5); both (batch, time, width).

    For a part of a text of `whole` steps, given the last output (batch, 1, width) `before` it, this is its share: those
    of all parts add up to that of the whole.
    """
    if not isinstance(choice, config.Awd):
        return outputs.new_zeros(())
    steps, length = outputs.diff(dim=1, prepend=before), whole or outputs.shape[1]
    activation = dropped.square().mean() * dropped.shape[1] / length
    temporal = steps.square().mean() * steps.shape[1] / (length - 1) if steps.numel() else outputs.new_zeros(())
    return choice.activation * activation + choice.temporal * temporal
