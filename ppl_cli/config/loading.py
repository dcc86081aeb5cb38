"""Where configurations come from (YAML files, settings, the header of a model file) and where they go: config.yaml."""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from ppl_cli.config.plain_yaml import PlainDumper, PlainLoader
from ppl_cli.config.recipes import fill_in, given, is_filled_in
from ppl_cli.config.retired import drop_retired
from ppl_cli.config.sections import Config
from ppl_cli.config.shipped import shipped_configs
from ppl_cli.errors import UsageError
from ppl_cli.files import at_home, read_limited
from ppl_cli.text import in_one_line

LARGEST_YAML = 256 << 10  # bytes
# Fields that name files and folders.
PLACES = ("data.path", "data.also", "loss.weights", "model.backbone_weights", "train.init", "prior.init")
WORDS = {  # pydantic's, as regular expressions -> ours
    "Input should be greater": "expected a number greater",
    "Input should be less": "expected a number less",
    "Input should be": "expected",
    "a valid dictionary or instance of .*": "a section of several fields",
    "a valid boolean.*": "true or false",
    "a valid string": "text",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "String should match pattern .*": "expected only letters, digits, dots, dashes and underscores",
    "a valid integer.*": "a whole number",
    "a valid number.*": "a number",
}


def load_config(source: str | Path, settings: Mapping[str, object] | None = None) -> Config:
    """`source`: a YAML file or the name of a shipped configuration. `settings`: dotted keys, as {"train.steps": 500}.

    Raises UsageError with one line: the file, the key and the nearest known key.
    """
    where, values = read_yaml(str(source))
    settings = settings or {}
    resolved = values.pop("written_by", None) is not None  # the config.yaml of a run, with every field
    if settings.get("recipe", values.get("recipe")) != values.get("recipe") and (resolved or is_filled_in(values)):
        raise UsageError(f"recipe: {where} sets every field that a recipe would; start from another one")
    for key, value in settings.items():
        set_key(values, key, value)
    if not resolved or "prior.init" in settings:
        use_prior(values, settings)
    if not resolved:
        fill_in(values)
    for key in PLACES:
        asked = key in settings or key.partition(".")[0] in settings
        if (asked or not resolved) and (place := given(values, key)):
            set_key(values, key, in_full(place))  # wherever the run goes on
    return parse_config(values, where, settings)


def use_prior(values: dict, settings: Mapping[str, object]) -> None:
    """In place: who names a prior to start from starts from all of it but what is said."""
    parts = ("prior.keypoints", "prior.links")
    said = settings if settings.get("prior.init") else [part for part in parts if given(values, part)]
    if given(values, "prior.init") and not any(given(values, part) == "given" for part in parts):
        for part in parts:
            if part not in said:
                set_key(values, part, "given")


def data_settings(places: Iterable[str | Path]) -> dict[str, object]:
    """Folders and videos as settings of `DataConfig`, wherever the program runs next; none of none."""
    found = in_full(list(places))
    return {"data.path": found[0], "data.also": found[1:]} if found else {}


def in_full(place: object) -> object:
    """The absolute path, or those of a list; what is no path stays, for validation to name."""
    if isinstance(place, list | tuple):
        return [in_full(one) for one in place]
    return str(at_home(place).absolute()) if isinstance(place, str | Path) else place


def read_yaml(source: str) -> tuple[str, dict]:
    """(a name for error messages, the mapping in the file)."""
    shipped = shipped_configs()
    file = shipped.get(source, at_home(source))
    if not file.is_file():
        if file.is_dir():
            run = (file / "config.yaml").is_file()
            how = (
                f"ppl train --out {source} --resume goes on with that run" if run else f"ppl train folder_small --data {source}"
            )
            raise UsageError(f"{source} is a folder, not a configuration: {how}")
        near = suggestion(source, shipped)
        raise UsageError(f"no configuration {source!r}{near}: give a YAML file or one of {', '.join(shipped)}")
    content = read_limited(file, LARGEST_YAML)
    try:
        values = yaml.load(content, PlainLoader)  # UTF-8, or the UTF-16 that > writes in Windows PowerShell
    except Exception as error:  # damaged YAML raises anything: nested too deeply, invalid dates and numbers
        said = in_one_line(str(error).replace('"<byte string>", ', ""), 300)
        raise UsageError(f"{file} is not valid YAML: {said}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UsageError(f"{file}: expected `key: value` lines, got a {type(values).__name__}")
    return str(file), values


def set_key(values: dict, key: str, value: object) -> None:
    """Set, in place, the value of a dotted key."""
    *sections, last = key.split(".")
    for section in sections:
        inner = values[section] = values.get(section) or {}
        if not isinstance(inner, dict):
            raise UsageError(f"{key}: {section} is not a section")
        values = inner
    if isinstance(values.get(last), dict):  # a section: what is not named stays
        if not isinstance(value, Mapping):
            raise UsageError(f"{key}: expected a section of several fields, got {short(value)}")
        for name, inner in value.items():
            set_key(values[last], str(name), inner)
        return
    values[last] = str(value) if isinstance(value, Path) else value


def parse_config(values: dict, where: str, asked: Iterable[str] = ()) -> Config:
    """`where` the values come from and which dotted keys were `asked` for beside it, for the error message."""

    asked = list(asked)

    def source(key: str) -> str:
        if asked and not key:  # several fields do not fit together
            return f"settings, with {where}"
        return "settings" if any(name.startswith(key) or key.startswith(name) for name in asked) else where

    try:
        return Config.model_validate(drop_retired(values, source))
    except ValidationError as error:
        first, *others = error.errors()
        if first["type"] == "extra_forbidden":
            key = ".".join(map(str, first["loc"]))
            raise UsageError(f"{source(key)}: unknown key {key}{nearest_keys(first['loc'])}") from None
        key = name_field(first["loc"])
        said = [in_our_words(first), *(in_our_words(other) for other in others if name_field(other["loc"]) == key)]
        message = " or ".join(dict.fromkeys([said[0], *(text.removeprefix("expected ") for text in said[1:])]))
        got = "" if isinstance(first["input"], dict | BaseModel) else f", got {short(first['input'])}"
        raise UsageError(f"{source(key)}: {key + ': ' if key else ''}{message}{got}") from None


def name_field(location: tuple) -> str:
    """The dotted key of a place in the configuration, without what pydantic calls the kinds of value that fit there."""
    keys, parts = all_keys(), []
    for part in map(str, location):
        if part.isdigit() or ".".join([*parts, part]) in keys:
            parts.append(part)
    return ".".join(parts)


def in_our_words(error: Mapping[str, object]) -> str:
    message = error["msg"].removeprefix("Value error, ")
    for theirs, ours in WORDS.items():
        message = re.sub(theirs, ours, message)
    return message


def short(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"


def nearest_keys(location: tuple) -> str:
    """Known keys like an unknown one. A section may have been left out: keypoint -> model.keypoints, prior.keypoints."""
    *sections, last = map(str, location)
    if not sections and last in all_keys():  # train.steps, as --set writes it
        section, _, field = last.partition(".")
        return f" (in a file write {section}: and, indented below it, {field}: ...)"
    known = [name for name in all_keys() if name.split(".")[:-1] == sections]
    likely = known if sections else all_keys()
    match = difflib.get_close_matches(last, [name.rpartition(".")[2] for name in likely], 1, 0.5)
    found = [name for name in likely if name.rpartition(".")[2] in match]
    return f" (did you mean {' or '.join(found)}?)" if found else f" (known: {', '.join(known)})"


def all_keys() -> list[str]:
    """Names of sections and fields: seed, train, ..., train.steps, ..."""
    values = Config().model_dump()
    return [*values, *(f"{name}.{key}" for name, inner in values.items() if isinstance(inner, dict) for key in inner)]


def suggestion(name: str, known) -> str:
    match = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {match[0]}?)" if match else ""


def nearest(name: str, known) -> str:
    return suggestion(name, known) or f" (known: {', '.join(known)})"


def to_yaml(config: Config, written_by: dict[str, str] | None = None, ascii_only: bool = False) -> str:
    """The resolved configuration, ready to be trained from again; `ascii_only`: other characters as escapes."""
    values = config.model_dump() | ({} if written_by is None else {"written_by": written_by})
    return yaml.dump(values, Dumper=PlainDumper, sort_keys=False, allow_unicode=not ascii_only)
