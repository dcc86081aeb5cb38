"""NumPy arrays and pandas tables out of the nodes of a pickle that was read without being executed."""

import math
from pathlib import Path

import numpy as np

from ppl_cli.files import refusing
from ppl_cli.pickles.machine import Node, UnreadablePickleError, read_pickle

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
MOST_COLUMNS, MOST_CELLS = 1000, 2_000_000  # parts of a pickle may be one object: its own size bounds neither


def read_table(path: Path) -> dict[str, list]:
    """A pickled pandas DataFrame as column name -> values. UsageError if the file holds anything else."""
    content = read_pickle(path, TABLES)
    with refusing(path, "is not a pickled table (pandas DataFrame) in a form that ppl knows"):
        return as_columns(content)


def as_array(node: Node, nested: bool = False) -> np.ndarray:
    """A NumPy array out of its node. Its size is checked against the bytes that are there before it is made."""
    if node.name == "_frombuffer":
        raw, dtype, shape, order = node.args
        fortran = order == "F"
    else:
        *_, shape, dtype, fortran, raw = node.state
    kind = dtype.args[0]
    if type(kind) is not str or kind not in DTYPES:
        raise UnreadablePickleError("an array of something else than numbers, text and arrays")
    if len(shape) > 8 or not all(type(side) is int and 0 <= side < 2**40 for side in shape):
        raise UnreadablePickleError("an array with sides that cannot be")
    count = math.prod(shape)
    if kind.startswith("O"):
        if nested:  # such nests could multiply without end
            raise UnreadablePickleError("an array of arrays of objects")
        if len(raw) != count:
            raise UnreadablePickleError("an array of another size than its content")
        array = np.empty(count, object)
        array[:] = [as_array(item, nested=True) if is_array(item) else item for item in raw]
    else:
        order = dtype.state[1]
        if order not in ("<", ">", "=", "|"):
            raise UnreadablePickleError("an array of an unknown byte order")
        array = np.frombuffer(as_bytes(raw), np.dtype(order.replace("|", "=") + kind))
    if array.size != count:
        raise UnreadablePickleError("an array of another size than its content")
    return array.reshape(shape, order="F" if fortran else "C")


def is_array(item: object) -> bool:
    return isinstance(item, Node) and item.args is not None and item.name in ("_reconstruct", "_frombuffer")


def as_bytes(raw: object) -> bytes:
    if isinstance(raw, Node) and raw.name == "encode":  # how protocol 2 stores bytes
        return raw.args[0].encode("latin1")
    if isinstance(raw, Node) and raw.name == "bytes" and not raw.args:
        return b""
    if isinstance(raw, str):  # strings of Python 2 hold bytes
        return raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):  # bytes(10**12) would be zeros
        raise UnreadablePickleError("an array without bytes")
    return bytes(raw)


def as_columns(table: Node) -> dict[str, list]:
    if table.name != "DataFrame":
        raise UnreadablePickleError(f"it holds a {table.name}")
    manager = table.state["_mgr"] if "_mgr" in table.state else table.state["_data"]
    if manager.args:
        blocks, axes = manager.args
        pairs = [(block.args[0], block.args[1]) for block in blocks]
    else:  # pandas before 1.3
        inner = manager.state[3]["0.14.1"]
        axes, pairs = inner["axes"], [(block["values"], block["mgr_locs"]) for block in inner["blocks"]]
    names = as_values(axes[0].args[1]["data"]).ravel().tolist()
    if not all(type(name) is str for name in names) or len(set(names)) < len(names):
        raise UnreadablePickleError("its columns are not named by texts that differ")
    if len(names) > MOST_COLUMNS or len(pairs) > len(names):
        raise UnreadablePickleError(f"it has {max(len(names), len(pairs))} columns")
    columns: dict[str, list] = {}
    cells = 0
    for values, places in pairs:
        rows = as_values(values)
        numbers = range(len(names))[slice(*places.args)] if places.name == "slice" else as_array(places).ravel().tolist()
        rows = rows.reshape(len(numbers), -1)
        cells += rows.size
        if cells > MOST_CELLS:
            raise UnreadablePickleError(f"it has more than {MOST_CELLS} cells")
        columns |= {names[number]: list(row) for number, row in zip(numbers, rows, strict=True)}
    if len({len(column) for column in columns.values()}) > 1:
        raise UnreadablePickleError("its columns differ in length")
    return {name: columns[name] for name in names}


def as_values(node: object) -> np.ndarray:
    """An array, also where pandas keeps it inside of an array of its own (strings)."""
    if is_array(node):
        return as_array(node)
    return next(as_array(part) for part in node.state if is_array(part))
