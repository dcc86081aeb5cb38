"""Where configurations come from (YAML files, `--set`, the header of a model file) and where they go: config.yaml."""

import difflib
import reprlib
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from ppl_cli.config.recipes import fill_in
from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.text import in_one_line

LARGEST_YAML = 256 << 10  # bytes
PACKAGE = Path(__file__).parents[1]


def shipped_configs() -> dict[str, Path]:
    """Name -> file of the configurations that come with ppl, from the source tree or the installed package."""
    beside = PACKAGE.parent / "configs"
    installed = PACKAGE / "configs"
    folder = installed if installed.is_dir() else beside
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_config(source: str, overrides: tuple[str, ...] = (), **settings: str | None) -> Config:
    """`source`: a YAML file or the name of a shipped configuration. `overrides`: `key.path=value`, value as in YAML.

    `settings` are dotted keys (as `data__path="..."`) set after the overrides where they are not None. Raises
    UsageError with one line: the file, the key and the nearest known key.
    """
    where, values = read_yaml(source)
    resolved = values.pop("written_by", None) is not None  # the config.yaml of a run, with every field
    asked = []
    for text in overrides:
        key, equals, value = text.partition("=")
        asked.append(key.strip())
        if not equals:
            raise UsageError(f"--set {text}: write key=value, for example --set train.steps=500")
        try:
            set_key(values, key.strip(), yaml.load(value, PlainLoader))
        except UsageError:
            raise
        except Exception:  # YAMLError, and what looks like a date or a number and is none
            raise UsageError(f"--set {text}: {value!r} is not a value that YAML can read") from None
    for key, value in settings.items():
        if value is not None:
            set_key(values, key.replace("__", "."), value)
    if resolved and "recipe" in asked:
        raise UsageError(f"--set recipe: {where} is the configuration of a run, with every field set; start from another one")
    if not resolved:
        fill_in(values)
    return parse_config(values, where, asked)


def read_yaml(source: str) -> tuple[str, dict]:
    """(a name for error messages, the mapping in the file)."""
    shipped = shipped_configs()
    file = shipped[source] if source in shipped else Path(source)
    if source not in shipped and not file.is_file():
        near = nearest(source, shipped)
        raise UsageError(f"no configuration {source!r}{near}: give a YAML file or one of {', '.join(shipped)}")
    try:
        values = yaml.load(read_limited(file, LARGEST_YAML).decode("utf-8-sig"), PlainLoader)
    except UsageError:
        raise
    except Exception as error:  # damaged YAML raises anything: nests too deep, dates and numbers that are none
        raise UsageError(f"{file} is not valid YAML: {in_one_line(error, 300)}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UsageError(f"{file} must hold `key: value` lines, not a {type(values).__name__}")
    return str(file), values


class PlainLoader(yaml.SafeLoader):
    """Without references: a few lines of them stand for more values than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"write values out, *{self.peek_event().anchor} refers to another place")
        return super().compose_node(parent, index)


def set_key(values: dict, key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values[section] = values.get(section) or {}
        if not isinstance(inner, dict):
            raise UsageError(f"--set {key}: {section} is not a section")
        values = inner
    values[last] = value


def parse_config(values: dict, where: str, asked: list[str] | None = None) -> Config:
    """`where` the values come from and which keys were `asked` for with --set, for the error message."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("str", "float"))
        where = "--set" if key and any(name.startswith(key) or key.startswith(name) for name in asked or []) else where
        if first["type"] == "extra_forbidden":
            section = ".".join(map(str, first["loc"][:-1]))
            known = [f"{section}.{name}" if section else name for name in known_keys(first["loc"][:-1])]
            raise UsageError(f"{where}: unknown key {key}{nearest(key, known)}") from None
        message = first["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(first["input"], dict | BaseModel) else f" (got {short(first['input'])})"
        raise UsageError(f"{where}: {key + ': ' if key else ''}{message}{shown}") from None


def short(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"


def known_keys(location: tuple) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        model = model.model_fields[part].annotation
    return list(model.model_fields)


def nearest(name: str, known) -> str:
    match = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" (did you mean {match[0]}?)" if match else f" (known: {', '.join(known)})"


def to_yaml(config: Config, written_by: dict[str, str]) -> str:
    """The resolved configuration, ready to be trained from again."""
    return yaml.safe_dump({**config.model_dump(), "written_by": written_by}, sort_keys=False, allow_unicode=True)
