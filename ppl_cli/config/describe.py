"""What `ppl train --fields` prints: every field of the configuration with its type, unit, default and meaning."""

import re
import textwrap
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ppl_cli.config.recipes import RECIPES, fill_in
from ppl_cli.config.sections import Config

PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false"}
HEAD = """Fields of a configuration. Set them in a YAML file, or with --set, for example: --set train.steps=500.
A default that differs between recipes is given for each of them, for a run of 20,000 steps."""


def describe_fields(width: int = 80) -> str:
    """Text of lines up to `width` characters, one section after the other."""
    chosen = {name: resolved(name) for name in RECIPES}
    lines = textwrap.wrap(HEAD.replace("\n", " "), width)
    top = {name: field for name, field in Config.model_fields.items() if not is_section(field)}
    lines += describe_section("", top, chosen, width)
    for name, field in Config.model_fields.items():
        if is_section(field):
            lines += ["", *textwrap.wrap(f"{name}: {field.annotation.__doc__}", width)]
            sections = {recipe: getattr(config, name) for recipe, config in chosen.items()}
            lines += describe_section(f"{name}.", field.annotation.model_fields, sections, width)
    return "\n".join(lines)


def resolved(recipe: str) -> Config:
    values: dict = {"recipe": recipe}
    fill_in(values)
    return Config.model_validate(values)


def is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def describe_section(prefix: str, fields: dict[str, FieldInfo], chosen: dict[str, BaseModel], width: int) -> list[str]:
    lines = []
    for name, field in fields.items():
        meaning, unit = re.fullmatch(r"(.*?)(?: \[(.+)\])?", field.description or "").groups()
        defaults = {recipe: getattr(section, name) for recipe, section in chosen.items()}
        kind = limited(type_words(field.annotation), field.metadata) + (f" [{unit}]" if unit else "")
        head = f"  {prefix}{name}: {kind}; default {default_words(defaults) if prefix or name != 'recipe' else 'ppl'}"
        lines += textwrap.wrap(head, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)
        lines += textwrap.wrap(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines


def type_words(annotation: Any) -> str:
    """A type as a user would say it: `whole number > 0 or auto`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return limited(type_words(inner[0]), [limit for field in inner[1:] for limit in field.metadata])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin is list:
        return f"list of {type_words(inner[0])}"
    if origin is tuple:
        return " and ".join(map(type_words, inner))
    if inner:  # a union
        return " or ".join("none" if part is NoneType else type_words(part) for part in inner)
    return PLAIN[annotation]


def limited(words: str, limits: list) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
    found = [f"{sign} {getattr(limit, name)}" for limit in limits for name, sign in signs.items() if hasattr(limit, name)]
    return f"{words} {', '.join(found)}" if found else words


def default_words(defaults: dict[str, object]) -> str:
    """`0.1 (paper, reference: 0.0)`: what the default recipe sets, and the others where they differ."""
    first, *others = [show(value) for value in defaults.values()]
    apart: dict[str, list[str]] = {}
    for recipe, value in zip(list(defaults)[1:], others, strict=True):
        if value != first:
            apart.setdefault(value, []).append(recipe)
    differing = "; ".join(f"{', '.join(names)}: {value}" for value, names in apart.items())
    return f"{first} ({differing})" if differing else first


def show(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
