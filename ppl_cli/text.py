"""Names of anyone's files, made safe for what they are written into. Nothing here changes how a file is opened."""

import re
import shlex
import sys
from collections.abc import Sequence

# What a spreadsheet takes for the start of a formula, also in full width. A leading + or - is harmless where only
# letters, digits and the like follow: -30.jpg is an angle more often than an attack.
FORMULA = re.compile(r"[=@\t\r\n\uff1d\uff0b\uff0d\uff20]|[+-](?![\w. /+-]*\Z)")


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def note_left_out(problems: Sequence[str], noun: str) -> str:
    """`2 unreadable images are left out; the first: NAME: WHY`."""
    left_out = "is left out" if len(problems) == 1 else "are left out; the first"
    return f"{counted(len(problems), noun)} {left_out}: {problems[0]}"


def none_readable(problems: Sequence[str], noun: str) -> str:
    """`none of the 2 images can be read; the first: NAME: WHY`."""
    if len(problems) == 1:
        return f"the only {noun} cannot be read: {problems[0]}"
    return f"none of the {counted(len(problems), noun)} can be read; the first: {problems[0]}"


def in_utf8(name: str) -> str:
    """Bytes that are not UTF-8 as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def in_csv(name: str) -> str:
    """A path as a cell: one that a spreadsheet would run as a formula is written ./NAME, which is the same path."""
    return in_utf8(f"./{name}" if FORMULA.match(name) else name)


def on_screen(text: str) -> str:
    """One line without what a terminal would act upon (escape sequences, line breaks, marks that turn the direction)."""
    shown = (c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in in_utf8(text))
    return "".join(shown)


def as_command(words: Sequence[str], windows: bool = sys.platform == "win32") -> str:
    """A line that the system's shell takes for these words."""
    if not windows:
        return shlex.join(words)
    from subprocess import list2cmdline

    return list2cmdline(words)


def as_set(value: object) -> str:
    """A value as `--set` takes it, and `ppl train --fields` shows it: true, false and none, not Python's words."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def printable(text: str, most: int = 80) -> str:
    """What a file may hold, in at most `most` characters, `?` for what does not print. It imports nothing, not even a codec."""
    shown = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}..."


def in_one_line(error: object, most: int = 200) -> str:
    """What an exception of a library says, which may have many lines."""
    return printable(" ".join(str(error).split()), most)
