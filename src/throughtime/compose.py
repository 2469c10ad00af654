"""From the command line to plain settings, by Hydra; every slip is told in one sentence before a job starts."""

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from throughtime import config

_BESIDE = Path(__file__).parent / "conf"  # in a wheel; in a checkout the folder lies at the top
CONF = str((_BESIDE if _BESIDE.is_dir() else Path(__file__).parents[2] / "conf").resolve())
WITH_VALUE = {
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
}
INFORMED = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}  # what may follow --info
SCHEMAS: dict[str, type] = {"train": config.TrainConfig, "decode": config.DecodeConfig}
COMBINATIONS = 64  # jobs of a sweep checked beforehand; each job checks itself again


@contextmanager
def one_sentence() -> Iterator[None]:
    """Ends the program with a mistake's sentence and exit code 2."""
    if sys.stdout is None:  # closed by who started the program
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has enough
        _drop_output()
        sys.exit(1)
    except KeyboardInterrupt:
        _drop_output()
        sys.exit(130)  # as shells say it of what Ctrl-C ended
    except (config.Mistake, OSError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {config.sentence(error)}", file=sys.stderr, flush=True)
        _drop_output()
        sys.exit(2)


def _drop_output() -> None:
    """Keeps Python from complaining at its end about output that nobody takes."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settings(program: str, values: DictConfig) -> dict[str, Any]:
    """The composed config as plain dicts and lists, interpolations resolved; of each group what the choice knows."""
    plain = OmegaConf.to_container(values, resolve=True)
    named = {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
    return config.without_leftovers(named, SCHEMAS[program])


def continued(arguments: Sequence[str]) -> list[str]:
    """A command line with `resume=` in full: what the run began with, and behind it what is said anew.

    Raises:
        Mistake: there is nothing to resume.
    """
    said = {_place(override): override for override in map(_parsed, _overrides(arguments))}
    if "resume" not in said or said["resume"].value() in (None, ""):
        return list(arguments)
    from throughtime.train import checkpoint

    outputs = str(said["outputs"].value()) if "outputs" in said else "outputs"
    start = checkpoint.find(str(said["resume"].value()), outputs, "resume", "last")
    folders = start.parents[1:3]  # a kept checkpoint lies a folder deeper than the best
    summaries = [folder / "summary.json" for folder in folders if (folder / "summary.json").exists()]
    begun = json.loads(summaries[0].read_text())["overrides"] if summaries else []
    own = ("hydra.", "hydra/", "resume")  # of the run that was
    before = [text for text in begun if _place(_parsed(text)) not in said and not text.startswith(own)]
    return [*_still_settings(before, list(said.values())), *arguments]


def _still_settings(before: list[str], said: list[Override]) -> list[str]:
    """What of a run's first overrides the choices that are said anew have: search.size=3 goes with its search=beam."""
    groups = _groups()
    choices = [override for override in [*map(_parsed, before), *said] if override.key_or_group in groups]
    for override in choices:
        _refuse_unknown_choice(override)
    known = {*groups, *_keys(composed("train", next(_jobs(choices))))}
    return [text for text in before if _parsed(text).key_or_group in known]


def _place(override: Override) -> str:
    """What an override sets: `cell` and `cell@encoder.cell` are two places."""
    return override.key_or_group + (f"@{override.package}" if override.package else "")


def preflight(program: str, arguments: Sequence[str]) -> Any:
    """Checks a command line as a whole: every choice, every key, every value, for every job of a sweep.

    Returns:
        The settings of the first job; None where only help is asked for.

    Raises:
        Mistake: the first slip found.
    """
    if {"--help", "-h", "--hydra-help", "--version"} & set(arguments):
        return None
    overrides = [_parsed(text) for text in _overrides(arguments)]
    sweeping = bool({"-m", "--multirun", "hydra.mode=MULTIRUN"} & set(arguments))
    for override in overrides:
        _refuse_unknown_choice(override)
        if override.key_or_group == "hydra.job.chdir" and override.value():
            raise config.wrong("hydra.job.chdir", True, "false, as paths are those of where the program is started")
        _refuse_misplaced_sweep(override, sweeping, overrides)
    _refuse_unknown_keys(program, overrides)
    jobs, folders = list[Any](), list[str]()
    for number, job in enumerate(islice(_jobs(overrides), COMBINATIONS)):
        jobs.append(config.check(composed(program, job, number), SCHEMAS[program]))
        folders.append(HydraConfig.get().sweep.subdir)
        if isinstance(jobs[-1], config.TrainConfig):
            _refuse_unwritable(jobs[-1].outputs)
    (folder, count), *_ = Counter(folders).most_common()
    if sweeping and count > 1:
        raise config.wrong("hydra.sweep.subdir", folder, f"a folder for each job, and this one is that of {count}")
    return jobs[0]


def _refuse_misplaced_sweep(override: Override, sweeping: bool, others: list[Override]) -> None:
    """Refuses several values where one is wanted, none at all, and intervals that no sweeper here knows."""
    if override.is_sweep_override() and not sweeping:
        raise config.Mistake(f"{override.input_line} lists several values: allowed with -m, which starts a sweep.")
    if override.is_discrete_sweep() and not _values(override):
        raise config.Mistake(f"{override.input_line} lists no value: allowed is at least one.")
    if override.is_interval_sweep() and "hydra/sweeper" not in {other.key_or_group for other in others}:
        raise config.Mistake(
            f"{override.input_line} is an interval: allowed are values, without another hydra/sweeper."
        )


def ready(program: str, arguments: Sequence[str]) -> list[str]:
    """A command line as Hydra is to see it, checked as a whole: the flags in front, wherever they stood.

    Raises:
        Mistake: the first slip found.
    """
    checked = preflight(program, arguments)
    flags, overrides = _split(arguments)
    return [*flags, *(overrides if checked is None else [_as_written(text, checked) for text in overrides])]


def _as_written(text: str, checked: Any) -> str:
    """An override, in quotes what is meant as text and looks like a number, or run.name=2024_01 were 202401."""
    override, (key, _, value) = _parsed(text), text.partition("=")
    meant = reduce(lambda part, name: getattr(part, name, None), override.key_or_group.split("."), checked)
    texts = all(isinstance(word, str) for word in (meant if isinstance(meant, list) else [meant]))
    if not texts or override.is_delete() or set("\"'({\\") & set(value):
        return text
    return f"{key}={re.sub(r'[^][,]+', _in_quotes, value)}"


def _in_quotes(found: re.Match[str]) -> str:
    """A word, in quotes where it is a number that would be written in another way."""
    word = found.group().strip()
    value = _parsed(f"word={word}").value()
    return f'"{word}"' if type(value) in (int, float) and str(value) != word else found.group()


def _refuse_unwritable(outputs: str) -> None:
    try:
        os.makedirs(outputs, exist_ok=True)
        tempfile.TemporaryFile(dir=outputs).close()
    except OSError as error:
        raise config.wrong("outputs", outputs, f"a folder that can be written ({error.strerror})") from error


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags of Hydra with their values, and the overrides."""
    values = {
        place
        for place, (flag, after) in enumerate(pairwise(arguments), start=1)
        if flag in WITH_VALUE or (flag in ("--info", "-i") and after in INFORMED)
    }
    flags, overrides = list[str](), list[str]()
    for place, text in enumerate(arguments):
        (flags if text.startswith("-") or place in values else overrides).append(text)
    return flags, overrides


def _overrides(arguments: Sequence[str]) -> list[str]:
    return _split(arguments)[1]


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        quoted = f"'{text.partition('=')[0]}=\"...\"'"
        raise config.Mistake(
            f"{text} can't be read: allowed is setting=value, with quotes {quoted} around a value that holds = , or brackets."
        ) from error


def composed(program: str, overrides: list[str], number: int = 0) -> dict[str, Any]:
    """The settings of `program` (train or decode) under the overrides, unchecked; `number` is that of a sweep's job."""
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            values = compose(program, overrides, return_hydra_config=True)
        with open_dict(values):
            values.hydra.job.num = number
        HydraConfig.instance().set_config(values)  # which ${hydra:job.num} asks
        return settings(program, OmegaConf.masked_copy(values, [str(key) for key in values if key != "hydra"]))
    except (HydraException, OmegaConfBaseException) as error:
        raise config.Mistake(
            f"{' '.join(overrides)} can't be composed: {str(error).strip().splitlines()[0].rstrip('.')}."
        ) from error


def _groups() -> dict[str, list[str]]:
    """The groups under conf/ and their choices."""
    folders = sorted(folder for folder in Path(CONF).iterdir() if folder.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def _values(override: Override) -> list[str]:
    """The values of an override as they stand, one unless it sweeps."""
    if isinstance(chosen := override.value(), Glob):
        return list(chosen.filter(_groups().get(override.key_or_group, [])))
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.input_line.partition("=")[2] if override.input_line else ""]


def _refuse_unknown_choice(override: Override) -> None:
    choices = _groups().get(override.key_or_group)
    if choices is None or override.is_delete():
        return
    for value in _values(override):
        if value not in choices and not (value in ("null", "") and override.key_or_group == "experiment"):
            allowed = ", ".join(choices) + config.nearest(value, choices)
            raise config.wrong(override.key_or_group, value, allowed)


def _refuse_unknown_keys(program: str, overrides: list[Override]) -> None:
    """Refuses keys that the chosen groups do not have; each combination of choices is looked at."""
    groups = _groups()
    choices = [override for override in overrides if override.key_or_group in groups]
    combinations = {
        " ".join(chosen): _keys(composed(program, chosen)) for chosen in islice(_jobs(choices), COMBINATIONS)
    }
    for chosen, known in combinations.items():
        for key in (override.key_or_group for override in overrides):
            if key.startswith(("hydra.", "hydra/")) or key in known or key in groups:
                continue
            if any(key in others for others in combinations.values()):
                raise config.Mistake(
                    f"{key} is no setting with {chosen}: allowed is a sweep of choices that all have it."
                )
            group = key.partition(".")[0]
            able = [
                choice for choice in groups.get(group, []) if key in _keys(composed(program, [f"{group}={choice}"]))
            ]
            if able:
                raise config.Mistake(f"{key} is a setting of {group}={config.alternatives(able)} alone.")
            hint = config.nearest(key, [*known, *groups]) or "; --cfg job lists all."
            raise config.Mistake(f"{key} is no setting{hint}")


def _keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _keys(value, f"{prefix}{key}.")
    return found


def _jobs(overrides: list[Override]) -> Iterator[list[str]]:
    """The override lists of all jobs; intervals, which only some sweepers know, are left at their default."""
    axes = []
    for override in overrides:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            continue
        swept = override.is_sweep_override()
        axes.append([f"{_place(override)}={value}" for value in _values(override)] if swept else [override.input_line])
    return (list(job) for job in product(*axes))  # type: ignore[arg-type]
