"""Checkpoints -> what answers lines with them: one model, the mean of several, an ensemble, a language model beside it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from throughtime import build, config
from throughtime.build import Decodable
from throughtime.data.paths import fingerprint
from throughtime.data.tokenizer import Tokenizer
from throughtime.nn.models import LanguageModel
from throughtime.nn.precision import chosen
from throughtime.run.decode.lexical import lexical_files, lexical_shortlist
from throughtime.search import Ensemble, Fusion, Shortlist, Stepper, stepper_of
from throughtime.train import checkpoint_files


class Files(NamedTuple):
    """What a job reads beside its lines: the checkpoints of `checkpoint=`, that of `language_model=`, and the texts of
    `shortlist=`."""

    models: list[Path]
    language_model: Path | None
    lexical: list[Path]

    @property
    def paths(self) -> list[Path]:
        """One after the other."""
        return [*self.models, *([self.language_model] if self.language_model else []), *self.lexical]

    def identity(self) -> list[str]:
        """What tells them from others, wherever they lie."""
        return [fingerprint(path) for path in self.paths]


def files(settings: config.DecodeConfig) -> Files:
    """The files that the settings name; several of `checkpoint=` only where it is said what to make of them.

    Raises:
        Mistake: there are none, or too many.
    """
    names = settings.checkpoint if isinstance(settings.checkpoint, list) else [settings.checkpoint or ""]
    models = [path for name in names for path in checkpoint_files.find_all(name, settings.outputs, "checkpoint")]
    if len(models) > 1 and settings.combine is None:
        raise config.wrong(
            "combine", None, f"average, ensemble or loglinear with the {len(models)} files of checkpoint="
        )
    beside = settings.language_model
    fluent = None if beside is None else checkpoint_files.find(beside, settings.outputs, "language_model")
    return Files(models, fluent, lexical_files(settings.shortlist))


@dataclass(frozen=True)
class Loaded:
    """A model that can take steps, and the tokenizers of what it reads and writes. `continues`: a language model, which
    continues what it reads; `ends`: one that has learned where a line ends; `shortlist`: the words that a search is limited
    to, if any."""

    stepper: Stepper
    reads: Tokenizer
    writes: Tokenizer
    continues: bool
    ends: bool
    shortlist: Shortlist | None


def load(settings: config.DecodeConfig, named: Files, device: torch.device) -> Loaded:
    """All models of a job as one, on a device.

    Raises:
        Mistake: a checkpoint that cannot be used, or has another vocabulary than the first.
    """
    groups = [named.models] if settings.combine in (None, "average") else [[path] for path in named.models]
    members = [build.from_checkpoints(group, settings.allow_code) for group in groups]
    for (path, *_), member in zip(groups, members, strict=True):
        if _vocabularies(member) != _vocabularies(members[0]):
            raise config.wrong("checkpoint", path, f"one with the vocabulary of {named.models[0]}")
    precision = chosen(settings.precision, device)
    steppers = [stepper_of(member.model.to(device), precision) for member in members]
    mean: Literal["linear", "loglinear"] = "loglinear" if settings.combine == "loglinear" else "linear"
    stepper = steppers[0] if len(steppers) == 1 else Ensemble(steppers, mean)
    continues = isinstance(members[0].model, LanguageModel)
    reads, writes = (members[0].tokenizers[side] for side in (("text", "text") if continues else ("source", "target")))
    shortlist = _shortlist(settings, named, continues, reads, writes)
    loaded = Loaded(stepper, reads, writes, continues, members[0].ends, shortlist)
    return loaded if named.language_model is None else _fused(settings, named.language_model, loaded, device)


def _shortlist(
    settings: config.DecodeConfig, named: Files, continues: bool, reads: Tokenizer, writes: Tokenizer
) -> Shortlist | None:
    if not named.lexical:
        return None
    if continues:
        raise config.wrong("shortlist.source", named.lexical[0], f"null with a language model like {named.models[0]}")
    return lexical_shortlist(settings.shortlist, named.lexical, reads, writes, Path(settings.outputs) / "cache")


def _vocabularies(member: Decodable) -> dict[str, object]:
    return {side: tokenizer.state() for side, tokenizer in member.tokenizers.items()}


def _fused(settings: config.DecodeConfig, path: Path, loaded: Loaded, device: torch.device) -> Loaded:
    """With the language model of `language_model=` beside."""
    beside = build.from_checkpoints([path], settings.allow_code)
    if loaded.continues:
        raise config.wrong("language_model", path, "null with the checkpoint of a language model")
    if not isinstance(beside.model, LanguageModel) or beside.tokenizers["text"].state() != loaded.writes.state():
        raise config.wrong("language_model", path, "a language model with the vocabulary of the translator's target")
    if not beside.ends:  # or it would charge every hypothesis for ending
        raise config.wrong("language_model", path, "one that has learned where a line ends (data.documents=lines)")
    writer = stepper_of(beside.model.to(device), chosen(settings.precision, device))
    return replace(loaded, stepper=Fusion(loaded.stepper, writer, settings.language_model_weight))
