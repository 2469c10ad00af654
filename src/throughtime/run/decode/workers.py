"""Which processes answer: this one or, with `devices=`, several, one for each GPU or each share of the CPU's cores."""

import functools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace

import torch

from throughtime import build, config, memory
from throughtime.run import parent
from throughtime.run.decode.answers import Answer
from throughtime.run.decode.conversation import Watched
from throughtime.run.decode.loading import Files, load
from throughtime.run.decode.reading import Block, packed
from throughtime.run.decode.scorer import Scorer
from throughtime.run.decode.searcher import Searcher
from throughtime.run.decode.sources import Source

ROOM = 1024  # bytes per line of a full batch, padding included; batches of longer lines hold fewer

Show = Callable[[str], None]
Submit = Callable[[Source, Block], "Future[list[Answer]]"]


@contextmanager
def workers(settings: config.DecodeConfig, named: Files, show: Show | None) -> Iterator[Submit]:
    """Yields a function that takes batches and promises their answers. With a single process, `show` is called with
    each answer as it grows.

    Raises:
        Mistake: more devices than there are, or a process that was killed.
    """
    device = build.device(settings.accelerator)
    if device.type != "cpu":
        build.refuse_absent("gpu" if device.type == "cuda" else device.type, settings.devices, "accelerator")
    if settings.devices == 1:
        yield _at_once(_answering(settings, named, device, show))
        return
    context = multiprocessing.get_context("spawn")
    numbers = context.SimpleQueue()
    for number in range(settings.devices):
        numbers.put(number)
    pool = ProcessPoolExecutor(settings.devices, context, _begin, (settings, named, device.type, numbers))
    try:
        yield lambda source, batch: pool.submit(_answer, source, batch)
    except BrokenProcessPool as error:
        reason = "fewer, since a process of it was killed, maybe for want of memory"
        raise config.wrong("devices", settings.devices, reason) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _answering(
    settings: config.DecodeConfig, named: Files, device: torch.device, show: Show | None = None
) -> Searcher | Scorer:
    """The searcher or scorer of this process."""
    loaded = load(settings, named, device)
    if show is not None:
        loaded = replace(loaded, stepper=Watched(loaded.stepper, loaded.writes.decode, show))
    return Scorer(settings, loaded) if settings.mode == "score" else Searcher(settings, loaded)


def _at_once(answering: Searcher | Scorer) -> Submit:
    def submit(source: Source, batch: Block) -> "Future[list[Answer]]":
        promise: Future[list[Answer]] = Future()
        promise.set_result(answering.answer(source, batch))
        return promise

    return submit


# in a process of its own -------------------------------------------------------------------------------------------

_answers_with: list[Callable[[], Searcher | Scorer]] = []  # one, once the process is prepared


def _begin(settings: config.DecodeConfig, named: Files, kind: str, numbers: "multiprocessing.SimpleQueue[int]") -> None:
    """Prepares a process of the pool, which ends when the main one does, however that ends."""
    memory.keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process receives it, and ends this one
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    parent.end_with_pipe(main_process.sentinel)
    number = numbers.get()
    if kind == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // settings.devices))
    device = torch.device(kind, number) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(device)  # else code that names no device would use the first
    _answers_with.append(functools.cache(lambda: _answering(settings, named, device)))


def _answer(source: Source, batch: Block) -> list[Answer]:
    """Answers a batch; the first one loads the checkpoint, as only from here does a mistake in it reach the user."""
    return _answers_with[0]().answer(source, batch)


# in the main process -----------------------------------------------------------------------------------------------


def in_order(
    blocks: Iterator[Block | None], source: Source, submit: Submit, settings: config.DecodeConfig
) -> Iterator[tuple[Block, list[Answer]]]:
    """Each block with the answers to its lines, in order. Batches are made of lines of about equal length; some blocks
    are read ahead to keep several processes busy, but none while the input has nothing more."""
    waiting: deque[tuple[Block, list[Future[list[Answer]]]]] = deque()
    ahead = 2 * settings.devices if settings.devices > 1 else 0
    for block in blocks:
        if block is not None:
            batches = packed(block, settings.batch, settings.batch * ROOM)
            waiting.append((block, [submit(source, batch) for batch in batches]))
        while len(waiting) > (ahead if block is not None else 0):
            yield _answered(*waiting.popleft())
    while waiting:
        yield _answered(*waiting.popleft())


def _answered(block: Block, promises: "list[Future[list[Answer]]]") -> tuple[Block, list[Answer]]:
    answers = [answer for promise in promises for answer in promise.result()]
    return block, sorted(answers, key=lambda answer: answer.place)
