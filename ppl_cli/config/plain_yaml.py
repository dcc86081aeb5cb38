"""YAML as people mean it: decimal numbers, no key twice, no aliases.

YAML 1.1, which PyYAML reads, takes 010 for 8, 12:30 for 750 and 1e3 for a text. Here 010 is a text, as 08 is there: it may be
the name of a folder, and where a number is expected it is ten.
"""

import re

import yaml

WHOLE, FRACTION = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
DIGITS = r"(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+"
FORMS = (
    (WHOLE, re.compile(r"[-+]?(?:0|[1-9]\d*)\Z"), "-+0123456789"),
    (FRACTION, re.compile(rf"(?:[-+]?(?:{DIGITS}|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))\Z"), "-+.0123456789"),
)


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them can stand for more values than fit into memory; and a key that stands twice, of
    which the first would be lost."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [form for form in forms if form[0] not in (WHOLE, FRACTION)]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"expected a value, got the alias *{self.peek_event().anchor}; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if isinstance(key, str) and keys.count(key) > 1]:
            raise yaml.YAMLError(f"{twice[0]} stands there twice: put what it holds into one")
        return super().construct_mapping(node, deep)


class PlainDumper(yaml.SafeDumper):
    """Quotes what either kind of YAML would read as a number."""


for tag, form, beginnings in FORMS:
    PlainLoader.add_implicit_resolver(tag, form, list(beginnings))
    PlainDumper.add_implicit_resolver(tag, form, list(beginnings))
PlainLoader.add_constructor(WHOLE, lambda _, node: int(node.value))
