"""Pickles read without executing them: a pickle becomes inert nodes that say what it named, and nothing is imported.

Python's own unpickler calls whatever a file names. Here each name must be on the caller's list, and even then it is
never looked up: a `Node` remembers the name, the arguments and the state, and functions like `as_array` and
`as_columns` read NumPy arrays and pandas tables out of them.
"""

import io
import math
import pickle
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ppl_cli.errors import UsageError

# (first part of the module, name): packages move their modules about between versions, and nothing here is imported.
ARRAYS = frozenset(
    [("numpy", name) for name in ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")]
    + [("_codecs", "encode"), ("builtins", "bytes"), ("__builtin__", "bytes")]
)
TABLES = ARRAYS | frozenset(
    [("pandas", name) for name in ("DataFrame", "BlockManager", "_unpickle_block", "_new_Index", "Index", "RangeIndex")]
    + [("pandas", name) for name in ("Int64Index", "NumericIndex", "StringArray", "StringDtype")]
    + [("pandas", "__pyx_unpickle_NDArrayBacked"), ("builtins", "slice"), ("__builtin__", "slice")]
)
DTYPES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "O", "O8"])


class UnreadablePickleError(Exception):
    """Damaged, or naming what it must not; the message says which."""


class Node:
    """Stands for an object or a call that a pickle describes: `name`, `args` and, where given, `state`."""

    name = ""

    def __new__(cls, *args, **named):
        node = super().__new__(cls)
        node.args, node.named, node.state = args, named, None
        return node

    def __setstate__(self, state: object) -> None:
        self.state = state


class InertUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase, allowed: Collection[tuple[str, str]]):
        super().__init__(file, encoding="latin1")  # strings of Python 2 hold the bytes of arrays
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> type[Node]:
        if (module.partition(".")[0], name) not in self.allowed:
            raise UnreadablePickleError(f"it names {module}.{name}, which ppl does not run")
        # A class of its own for each mention: a pickle can set attributes of what it names.
        return type("Node", (Node,), {"name": name})

    def persistent_load(self, key: object) -> object:
        raise UnreadablePickleError("it refers to objects outside of itself")


def read_pickle(path: Path, allowed: Collection[tuple[str, str]]) -> object:
    """The pickle as plain containers and `Node`s. UsageError names the file and why it is refused."""
    try:
        with path.open("rb") as file:
            return InertUnpickler(file, allowed).load()
    except UnreadablePickleError as error:
        raise UsageError(f"{path} is refused: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle raises anything
        raise UsageError(f"{path} is not a readable pickle ({type(error).__name__})") from error


def read_table(path: Path) -> dict[str, list]:
    """A pickled pandas DataFrame as column name -> values. UsageError if it is none."""
    content = read_pickle(path, TABLES)
    try:
        return as_columns(content)
    except UnreadablePickleError as error:
        raise UsageError(f"{path} is not a table that ppl can read: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError, StopIteration) as error:
        raise UsageError(f"{path} is not a pickled table (pandas DataFrame) in a form that ppl knows") from error


def as_array(node: object) -> np.ndarray:
    """A NumPy array out of its node. Its size is checked against the bytes that are there before it is made."""
    if node.name == "_frombuffer":
        raw, dtype, shape, order = node.args
        fortran = order == "F"
    else:
        *_, shape, dtype, fortran, raw = node.state
    kind = dtype.args[0]
    if kind not in DTYPES:
        raise UnreadablePickleError(f"an array of {kind!r}")
    count = math.prod(shape)
    if kind.startswith("O"):
        if len(raw) != count:
            raise UnreadablePickleError("an array of another size than its content")
        array = np.empty(count, object)
        array[:] = [as_array(item) if is_array(item) else item for item in raw]
    else:
        array = np.frombuffer(as_bytes(raw), np.dtype(dtype.state[1].replace("|", "=") + kind))
    if array.size != count:
        raise UnreadablePickleError("an array of another size than its content")
    return array.reshape(shape, order="F" if fortran else "C")


def is_array(item: object) -> bool:
    return isinstance(item, Node) and item.name in ("_reconstruct", "_frombuffer")


def as_bytes(raw: object) -> bytes:
    if isinstance(raw, Node) and raw.name == "encode":  # how protocol 2 stores bytes
        return raw.args[0].encode("latin1")
    if isinstance(raw, Node) and raw.name == "bytes" and not raw.args:
        return b""
    return raw.encode("latin1") if isinstance(raw, str) else bytes(raw)


def as_columns(table: Node) -> dict[str, list]:
    if table.name != "DataFrame":
        raise UnreadablePickleError(f"it holds a {table.name or type(table).__name__}")
    manager = table.state["_mgr"] if "_mgr" in table.state else table.state["_data"]
    if manager.args:
        blocks, axes = manager.args
        pairs = [(block.args[0], block.args[1]) for block in blocks]
    else:  # pandas before 1.3
        inner = manager.state[3]["0.14.1"]
        axes, pairs = inner["axes"], [(block["values"], block["mgr_locs"]) for block in inner["blocks"]]
    names = as_values(axes[0].args[1]["data"]).ravel().tolist()
    columns: dict[str, list] = {}
    for values, places in pairs:
        rows = as_values(values)
        numbers = range(len(names))[slice(*places.args)] if places.name == "slice" else as_array(places).tolist()
        rows = rows.reshape(len(numbers), -1)
        columns |= {names[number]: list(row) for number, row in zip(numbers, rows, strict=True)}
    return {name: columns[name] for name in names}


def as_values(node: object) -> np.ndarray:
    """An array, also where pandas keeps it inside of an array of its own (strings)."""
    if is_array(node):
        return as_array(node)
    return next(as_array(part) for part in node.state if is_array(part))
