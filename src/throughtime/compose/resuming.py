"""`resume=`: a run continues with the settings that it began with; `last`: the newest run, by its path."""

import json
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from throughtime import config
from throughtime.compose.command_line import as_text, overrides_in, parsed, place_of
from throughtime.compose.composing import choices_by_group, composed, jobs_of, keys_of, values_of
from throughtime.compose.preflight import refuse_unknown_choice


def continued(arguments: Sequence[str]) -> list[str]:
    """A command line with `resume=`, completed: what the run began with, followed by what is given now; `last` becomes
    the run that is now the newest, for every process and every job of a sweep, as in `start_from=`, too.

    Raises:
        Mistake: there is nothing to resume.
    """
    said = {place_of(override): override for override in map(parsed, overrides_in(arguments))}
    arguments = _with_newest_run(arguments, said)
    if "resume" not in said or said["resume"].value() in (None, ""):
        return arguments
    if said["resume"].is_sweep_override():
        raise config.Mistake(
            f"{said['resume'].input_line} lists several values: allowed is one, from which all jobs go on."
        )
    from throughtime.train import checkpoint_files

    start = _checkpoint(said, "resume", "last")
    earlier = checkpoint_files.run_of(start)
    begun = _overrides(earlier / "summary.json") if earlier else []
    own = ("hydra.", "hydra/", "resume")  # of the earlier run alone
    before = [text for text in begun if place_of(parsed(text)) not in said and not text.startswith(own)]
    by_path = {said["resume"].input_line: as_text("resume", str(start))} if said["resume"].value() == "last" else {}
    return [*_still_settings(before, list(said.values())), *(by_path.get(text, text) for text in arguments)]


def _overrides(summary: Path) -> list[str]:
    """What a run was started with."""
    try:
        return list(json.loads(summary.read_text())["overrides"])
    except (ValueError, KeyError) as error:
        allowed = f"a run whose {summary.name} is whole, and this one's is not"
        raise config.wrong("resume", summary.parent, allowed) from error


def _with_newest_run(arguments: Sequence[str], said: dict[str, Override]) -> list[str]:
    """With `start_from=last`, or a sweep's folder, as the folder of the run meant, which holds its vocabulary as well."""
    given = said.get("start_from")
    if given is None or given.value() in (None, ""):
        return list(arguments)
    if given.is_sweep_override():
        if "last" in values_of(given):
            raise config.Mistake(f"{given.input_line} lists last: allowed is last alone, or runs by their folders.")
        return list(arguments)
    if given.value() != "last" and not (Path(str(given.value())) / "sweep.json").exists():
        return list(arguments)
    run = _checkpoint(said, "start_from", "best").parents[1]
    return [as_text("start_from", str(run)) if text == given.input_line else text for text in arguments]


def _checkpoint(said: dict[str, Override], setting: str, prefer: str) -> Path:
    from throughtime.train import checkpoint_files

    outputs = str(said["outputs"].value()) if "outputs" in said else "outputs"
    return checkpoint_files.find(_meant(said, setting), outputs, setting, prefer)


def _meant(said: dict[str, Override], setting: str) -> str:
    """A setting's value; `last` in a sweep that goes on is the run that was the newest when it began."""
    value, sweep = str(said[setting].value()), said.get("hydra.sweep.dir")
    begun = Path(str(sweep.value())) / "sweep.json" if sweep else None
    if value != "last" or begun is None or not begun.exists():
        return value
    earlier = map(parsed, json.loads(begun.read_text()).get("overrides") or [])
    return next((str(override.value()) for override in earlier if override.key_or_group == setting), value)


def _still_settings(before: list[str], said: list[Override]) -> list[str]:
    """Those of a run's first overrides that the choices given now still know: search.size=3 needs search=beam."""
    groups = choices_by_group()
    if not any(override.key_or_group in groups for override in said):
        return before
    choices = [override for override in [*map(parsed, before), *said] if override.key_or_group in groups]
    for override in choices:
        refuse_unknown_choice(override)
    known = {*groups, *keys_of(composed("train", next(jobs_of(choices))))}
    return [text for text in before if parsed(text).key_or_group in known]
