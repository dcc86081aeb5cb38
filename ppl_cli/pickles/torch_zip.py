"""The zip file that torch.save writes, read without executing its pickle: a tree of nodes, and tensors on demand.

    NAME/data.pkl     the pickle; tensors in it are views of storages, which it names by numbers
    NAME/data/0, ...  the bytes of the storages, never compressed
    NAME/version, NAME/byteorder and some more

Every size is compared with the bytes that are there before anything is made from it.
"""

import io
import os
import zipfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from ppl_cli.errors import UsageError
from ppl_cli.files import refusing
from ppl_cli.pickles.machine import Machine, Node, UnreadablePickleError
from ppl_cli.text import printable

NEWEST_VERSION = 10  # of torch's format: what torch itself reads at most
MOST_PICKLE = 4 << 20  # bytes of data.pkl; that of a model has some 100 KiB
MOST_AT_ONCE = 16 << 20  # bytes of the zip's table of contents
MOST_MEMBERS = 10_000
MOST_DIMENSIONS = 8
MAGIC = b"PK\x03\x04"
DTYPES = {"FloatStorage": torch.float32, "LongStorage": torch.int64}
REBUILT = frozenset(
    [("torch", name) for name in DTYPES]
    + [("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"), ("collections", "OrderedDict")]
)


@dataclass(frozen=True)
class Storage:
    kind: str  # FloatStorage
    key: str
    count: int  # of elements


@dataclass(frozen=True)
class View:
    """A tensor that has not been read: a part of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.storage.kind]


class BoundedFile(io.FileIO):
    """zipfile reads as much as the file asks for; this reads only so much at once."""

    def read(self, size: int = -1) -> bytes:
        left = os.fstat(self.fileno()).st_size - self.tell()
        if (left if size is None or size < 0 else min(size, left)) > MOST_AT_ONCE:
            raise zipfile.BadZipFile("too large a part")
        return super().read(size)


class TorchZip:
    """UsageError names the file and why it is refused. To be used in a `with`."""

    def __init__(self, path: Path):
        self.path = path
        self.storages: dict[Storage, torch.Tensor] = {}
        try:
            self.file = BoundedFile(path)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
        with refusing(path, "is damaged, or not a zip file of torch.save"), ExitStack() as stack:
            stack.callback(self.file.close)
            self.archive = stack.enter_context(zipfile.ZipFile(self.file))
            self.members = {member.filename: member for member in self.archive.infolist()}
            self.root = self.check_members()
            self.opened = stack.pop_all()

    def __enter__(self) -> "TorchZip":
        return self

    def __exit__(self, *_) -> None:
        self.opened.close()

    def refuse(self, why: str) -> UsageError:
        return UsageError(f"{self.path} is refused: {why}")

    def check_members(self) -> str:
        """The folder in the zip that everything lies in."""
        listed = self.archive.infolist()
        if len(listed) > MOST_MEMBERS:
            raise self.refuse(f"it has {len(listed)} members, more than {MOST_MEMBERS}")
        if len(self.members) < len(listed):
            raise self.refuse("two of its members have the same name")
        for member in listed:
            shown = printable(member.filename)
            if member.flag_bits & 1:
                raise self.refuse(f"its member {shown} is encrypted")
            if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
                raise self.refuse(f"its member {shown} is compressed, which torch.save never does")
            if member.filename.startswith("/") or "\\" in member.filename or ".." in member.filename.split("/"):
                raise self.refuse(f"its member {shown} points outside")
        if sum(member.file_size for member in listed) > os.fstat(self.file.fileno()).st_size:
            raise self.refuse("its members overlap, or are said to be larger than the file")
        roots = [name.removesuffix("data.pkl") for name in self.members if name.endswith("/data.pkl")]
        if len(roots) != 1 or not all(name.startswith(roots[0]) for name in self.members):
            raise UsageError(f"{self.path} is a zip file, but not one that torch.save wrote")
        return roots[0]

    def read_member(self, name: str, most: int) -> bytes:
        member = self.members.get(self.root + name)
        if member is None:
            raise self.refuse(f"it lacks {printable(name)}")
        if member.file_size > most:
            raise self.refuse(f"its {printable(name)} has {member.file_size} bytes, more than {most}")
        with refusing(self.path, f"is damaged: its {printable(name)} cannot be read"):
            return self.archive.read(member)

    def tree(self, allowed: Collection[tuple[str, str]]) -> object:
        """The pickle as plain containers and `Node`s, in which storages are `Storage`s."""
        version = self.read_member("version", 64).strip()
        if not version.isdigit():
            raise self.refuse("its version is not a number")
        if int(version) > NEWEST_VERSION:
            raise UsageError(f"{self.path} has torch's format version {int(version)}, this ppl reads up to {NEWEST_VERSION}")
        if self.root + "byteorder" in self.members and self.read_member("byteorder", 64) != b"little":
            raise self.refuse("its bytes are in another order (big endian)")
        content = self.read_member("data.pkl", MOST_PICKLE)
        with refusing(self.path, "is damaged: its data.pkl cannot be read"):
            return Machine(allowed, storage).run(content)

    def read(self, view: View) -> torch.Tensor:
        """On the CPU, wherever it was. It must not be written to: others may share its storage."""
        return torch.as_strided(self.read_storage(view.storage), view.shape, view.stride, view.offset)

    def read_storage(self, stored: Storage) -> torch.Tensor:
        if stored not in self.storages:
            size = stored.count * DTYPES[stored.kind].itemsize
            content = self.read_member(f"data/{stored.key}", size)
            if len(content) < size:
                raise self.refuse(f"a storage has {len(content)} bytes where its tensors need {size}")
            self.storages[stored] = torch.frombuffer(bytearray(content), dtype=DTYPES[stored.kind])
        return self.storages[stored]


def storage(key: object) -> Storage:
    """What the pickle says of a storage: ("storage", type, number, device, elements)."""
    if type(key) is not tuple or len(key) != 5 or key[0] != "storage":
        raise UnreadablePickleError("it refers to objects outside itself")
    _, kind, number, _, count = key
    if not isinstance(kind, Node) or kind.args is not None or kind.name not in DTYPES:
        raise UnreadablePickleError("a storage of an unknown type")
    if type(number) is not str or not number.isascii() or not number.isdigit() or len(number) > 9:
        raise UnreadablePickleError("a storage is not named by a number")
    if type(count) is not int or not 0 <= count < 2**40:
        raise UnreadablePickleError("a storage has an impossible size")
    return Storage(kind.name, number, count)


def make_view(node: object) -> View:
    """A tensor or parameter that lies within its storage, without overlap. UnreadablePickleError says what is wrong."""
    match node:
        case Node(name="_rebuild_parameter", args=(Node() as tensor, *_)):
            node = tensor
    match node:
        case Node(name="_rebuild_tensor_v2", args=(stored, offset, shape, stride, *_)):
            pass
        case _:
            raise UnreadablePickleError("is not a tensor")
    if not isinstance(stored, Storage):
        raise UnreadablePickleError("has no storage")
    if type(shape) is not tuple or type(stride) is not tuple or len(shape) != len(stride) or len(shape) > MOST_DIMENSIONS:
        raise UnreadablePickleError("has an impossible shape")
    if not all(type(number) is int and 0 <= number < 2**40 for number in (offset, *shape, *stride)):
        raise UnreadablePickleError("has impossible sizes")
    end = offset
    for step, side in sorted((step, side) for step, side in zip(stride, shape, strict=True) if side != 1):
        if step <= end - offset:
            raise UnreadablePickleError("has elements that overlap")
        end += step * (side - 1)
    if not all(shape) or end >= stored.count:
        raise UnreadablePickleError(f"reaches beyond its storage of {stored.count} elements")
    return View(stored, offset, shape, stride)
