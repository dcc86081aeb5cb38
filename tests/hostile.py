"""Checkpoints that want to run something, to fill the memory or to hang: name -> the bytes of a file.

Run as a program (`python -m tests.hostile FOLDER`), it gives each to `ppl infer` and prints what happened as JSON.
"""

import codecs
import importlib
import io
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

CANARY = "canary"  # what a gadget would create, in the working folder
TOUCH = f"touch {CANARY}"
CODE = f"open({CANARY!r}, 'w').close()"
MEMORY = 3 << 30  # bytes of address space beyond what the program has at its start


def binunicode(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def stack_global(module: str, attribute: str) -> bytes:
    return binunicode(module) + binunicode(attribute) + b"\x93"


def colliding(number: int) -> bytes:
    """A whole number whose hash is 0, and nothing as its value."""
    return b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little") + b"N"


def call(module: str, attribute: str, *texts: str) -> bytes:
    return name(module, attribute) + b"(" + b"".join(map(binunicode, texts)) + b"tR"


class Reduced:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


MODULE = name("models.pose_prior_learner", "PosePriorLearner")


def pickles() -> dict[str, bytes]:
    """data.pkl of archives that are sound otherwise."""
    begin = b"\x80\x02"
    gadgets = {
        "os.system": call("os", "system", TOUCH),
        "posix.system": call("posix", "system", TOUCH),
        "builtins.eval": call("builtins", "eval", CODE),
        "builtins.exec": call("builtins", "exec", CODE),
        "python 2's eval": call("__builtin__", "eval", CODE),
        "__import__": call("builtins", "__import__", "antigravity"),
        "importlib": call("importlib", "import_module", "antigravity"),
        "runpy": call("runpy", "run_path", "gadget.py"),
        "a module on the path": name("gadget", "run") + b")R",
        "pty.spawn": call("pty", "spawn", "sh"),
        "webbrowser": call("webbrowser", "open", "http://127.0.0.1:9/"),
        "open for writing": call("io", "open", CANARY, "w"),
        "torch.load": call("torch", "load", "inner.pt"),
        "torch.hub.load": call("torch.hub", "load", "owner/name", "model"),
        "torch.serialization": call("torch.serialization", "_legacy_load", "inner.pt"),
        "torch.jit.load": call("torch.jit", "load", "inner.pt"),
        "torch's cpp extension": call("torch.utils.cpp_extension", "load_inline", "x", "int x;"),
        "torch.storage bytes": call("torch.storage", "_load_from_bytes", "x"),
        "numpy.load": call("numpy", "load", "inner.npy"),
        "numpy's test runner": call("numpy.testing._private.utils", "runstring", CODE),
        "codecs and getattr": call("codecs", "decode", CODE, "rot13"),
        "getattr chain": name("builtins", "getattr") + b"(" + name("os", "path") + binunicode("os") + b"tR",
        "dotted STACK_GLOBAL": stack_global("models.pose_prior_learner", "os.system") + binunicode(TOUCH) + b"\x85R",
        "STACK_GLOBAL of os": stack_global("os", "system") + binunicode(TOUCH) + b"\x85R",
        "STACK_GLOBAL of no text": b"K\x01K\x02\x93",
        "INST": f"(S'{TOUCH}'\nios\nsystem\n".encode(),
        "OBJ": b"(" + name("os", "system") + binunicode(TOUCH) + b"o",
        "EXT1": b"\x82\x01",
        "EXT4": b"\x84\x01\0\0\0",
        "copyreg extension": call("copyreg", "add_extension", "os", "system"),
        "copyreg reconstructor": name("copyreg", "_reconstructor") + b"(" + name("os", "system") + name("io", "open") + b"NtR",
        "operator.attrgetter": call("operator", "attrgetter", "system"),
        "functools.partial": name("functools", "partial") + b"(" + name("os", "system") + binunicode(TOUCH) + b"tR",
        "an allowed name called with os.system": MODULE + b"(" + call("os", "system", TOUCH) + b"tR",
        "__setstate__ of a gadget": MODULE + b")\x81" + binunicode("__setstate__") + name("os", "system") + b"sb",
        "state of a name": MODULE + b"}" + binunicode("__call__") + name("builtins", "eval") + b"sb",
        "a method as a name": name("models.pose_prior_learner", "PosePriorLearner.__init__") + b")R",
        "call of a result": MODULE + b")R)R",
        "call of a text": binunicode("os.system") + b")R",
        "a name with a line break": stack_global("os\nTraceback", "system\x1b[2J"),
        "a name of a million letters": stack_global("o" * 1_000_000, "system"),
        "items of a module": MODULE + b")\x81(" + binunicode("a") + b"K\x01u",
        "persistent id of text": b"Pos.system\n",
        "persistent id of another kind": b"(" + binunicode("module") + binunicode("os") + b"tQ",
        "storage that leaves the archive": storage(key="../../etc/passwd"),
        "storage that is not there": storage(key="99"),
        "storage of an unknown type": storage(kind=name("torch", "QInt8Storage")),
        "storage of negative size": storage(count=b"J\xff\xff\xff\xff"),
        "storage of a size of 2**60": storage(count=b"\x8a\x08" + struct.pack("<q", 2**60)),
        "buffers out of band": b"\x97\x98",
        "memo number of 2**32 - 1": b"Nr\xff\xff\xff\xff",
        "memo that is not there": b"h\x09",
        "text of 2**62 bytes": b"\x8d" + struct.pack("<Q", 2**62),
        "bytes of 4 GiB": b"B\xff\xff\xff\xff",
        "bytearray of 2**40 bytes": b"\x96" + struct.pack("<Q", 2**40),
        "frame of 2**40 bytes": b"\x95" + struct.pack("<Q", 2**40),
        "long of 2 GiB": b"\x8b\xff\xff\xff\x7f",
        "number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n",
        "deep lists": b"]" * 200_000 + b"a" * 199_999,
        "deep tuples as a key": b"}N" + b"\x85" * 200_000 + b"Ns",
        "deep modules": deep_modules(),
        "doubling tuples as a key": b"}N" + b"q\x01h\x01\x86" * 100 + b"Ns",
        "billion laughs as modules": laughing_modules(),
        "a module in itself": modules(b"q\x05", b"h\x05"),
        "colliding keys": b"}(" + b"".join(map(colliding, range(1, 100_000))) + b"u",
        "an empty stack": b"000",
        "a mark without end": b"(((((",
        "millions of dictionaries": b"}" * 3_500_000,
        "torch's pickle in a pickle": b"B" + struct.pack("<I", 30) + b"x" * 30 + name("pickle", "loads") + b"\x85R",
    }  # fmt: skip
    built = {kind: begin + gadget + b"." for kind, gadget in gadgets.items()}
    built |= {
        "nested reduce": pickle.dumps([{"x": (Reduced(os.system, TOUCH),)}], 2),
        "a reduce that gives a reduce": pickle.dumps(Reduced(Reduced, os.system, Reduced(eval, CODE)), 4),
        "subprocess": pickle.dumps(Reduced(subprocess.call, ["touch", CANARY]), 2),
        "codecs.encode": pickle.dumps(Reduced(codecs.encode, "x", "rot13"), 5),
        "a file by NEWOBJ": begin + name("_io", "FileIO") + binunicode(CANARY) + binunicode("w") + b"\x86\x81.",
        "a file by NEWOBJ_EX": b"\x80\x04" + name("_io", "FileIO") + binunicode(CANARY) + b"\x85}\x92.",
        "shutil.rmtree": pickle.dumps(Reduced(shutil.rmtree, "nowhere"), 3),
        "protocol 0 text": f"cos\nsystem\n(S'{TOUCH}'\ntR.".encode(),
        "protocol 250": b"\x80\xfaN.",
        "an unknown instruction": b"\x80\x02\xff.",
        "nothing": b"",
        "no STOP": begin + MODULE,
        "text": b"hello, this is text",
        "a dictionary": pickle.dumps({"state_dict": {}}, 2),
        "a number": pickle.dumps(3, 2),
        "a bare name": begin + MODULE + b".",
        "a module without content": begin + MODULE + b")\x81.",
        "a module whose content is a list": begin + MODULE + b")\x81]b.",
        "parameters that are text": modules(b"", binunicode("x"), kind="_parameters"),
        "a parameter that is text": modules(b"", b"}" + binunicode("alpha") + binunicode("x") + b"s", kind="_parameters"),
        "5 MiB of pickle": begin + b"N0" * (5 << 19) + b"N.",
    }
    return built


def storage(kind: bytes = name("torch", "FloatStorage"), key: str = "0", count: bytes = b"K\x10") -> bytes:
    """A checkpoint whose links are in this storage."""
    ident = b"(" + binunicode("storage") + kind + binunicode(key) + binunicode("cpu") + count + b"tQ"
    tensor = name("torch._utils", "_rebuild_tensor_v2") + b"(" + ident + b"K\0K\4K\4\x86K\4K\1\x86\x89}tR"
    content = b"}" + binunicode("_parameters") + b"}" + binunicode("skeleton_scalar") + tensor + b"ss"
    return MODULE + b")\x81" + content + b"b"


def modules(put: bytes, value: bytes, kind: str = "_modules") -> bytes:
    """A module that holds `value` as its modules, or as a module of its own where `put` remembers it."""
    inner = b"}" + binunicode("x") + value + b"s" if put else value
    return b"\x80\x02" + MODULE + b")\x81" + put + b"}" + binunicode(kind) + inner + b"sb."


def deep_modules() -> bytes:
    opened = MODULE + b")\x81}" + binunicode("_modules") + b"}" + binunicode("x")
    return opened * 20_000 + b"N" + b"ssb" * 20_000


def laughing_modules() -> bytes:
    """Each module holds the one before twice."""
    step = MODULE + b")\x81}" + binunicode("_modules") + b"}(" + binunicode("a") + b"h\x01" + binunicode("b") + b"h\x01usb0"
    built = MODULE + b")\x81}bq\x010"
    for _ in range(60):
        built += step.replace(b"usb0", b"usbq\x010")
    return built + b"h\x01"


def archives(good: bytes) -> dict[str, bytes]:
    """Zip files that are wrong; `good` is a sound checkpoint."""
    members = read_zip(good)
    root = next(iter(members)).split("/")[0]
    zeros = bytes(64 << 20)
    largest = max((key for key in members if "/data/" in key), key=lambda key: len(members[key]))
    built = {
        "compressed storages": write_zip(members, compress=zipfile.ZIP_DEFLATED),
        "zip bomb as a pickle": write_zip(members | {f"{root}/data.pkl": zeros}, compress=zipfile.ZIP_DEFLATED),
        "zip bomb as a storage": write_zip(members | {largest: zeros}, compress=zipfile.ZIP_DEFLATED),
        "zip bomb in LZMA": write_zip(members | {largest: zeros}, compress=zipfile.ZIP_LZMA),
        "absolute member": write_zip(members | {"/etc/passwd": b"x"}),
        "member above": write_zip(members | {f"{root}/../../x": b"x"}),
        "member with a backslash": write_zip(members | {f"{root}\\..\\x": b"x"}),
        "member with a line break": write_zip(members | {f"{root}/a\nTraceback": b"x", "/b\nc": b""}),
        "second root": write_zip(members | {"other/data.pkl": b"N."}),
        "no pickle": write_zip({key: value for key, value in members.items() if not key.endswith("data.pkl")}),
        "no version": write_zip({key: value for key, value in members.items() if not key.endswith("/version")}),
        "a storage is missing": write_zip({key: value for key, value in members.items() if key != largest}),
        "a storage is short": write_zip(members | {largest: members[largest][:-8]}),
        "a storage is long": write_zip(members | {largest: members[largest] * 2}),
        "newer version": write_zip(members | {f"{root}/version": b"99\n"}),
        "version of text": write_zip(members | {f"{root}/version": b"os.system"}),
        "version without end": write_zip(members | {f"{root}/version": b"9" * 100_000}),
        "big endian": write_zip(members | {f"{root}/byteorder": b"big"}),
        "not a number in a storage": write_zip(members | {largest: b"\xff" * len(members[largest])}),
        "duplicate member": write_zip(members, twice=f"{root}/data.pkl"),
        "encrypted": flagged(good, 0x0001),
        "a storage was altered": altered(good, members[largest][:64]),
        "an empty zip": b"PK\x05\x06" + bytes(18),
        "a zip in a zip": write_zip({f"{root}/x": good}),
        "declared size of 2**32 - 1": sized(good, 0xFFFFFFFF),
        "declared size of 2 GiB": sized(good, 1 << 31),
        "contents of 2 GiB": write_zip(members)[:-10] + struct.pack("<IIH", 1 << 31, 0, 0),
        "overlapping members": overlapping(members, largest),
        "100,000 members": write_zip(members | {f"{root}/data/x{i}": b"" for i in range(100_000)}),
        "begin of a zip only": b"PK\x03\x04",
        "noise after the begin": b"PK\x03\x04" + bytes(range(256)) * 100,
        "zeros": b"PK\x03\x04" + bytes(1 << 20),
        "a program": b"\x7fELF" + bytes(1000),
        "an old torch file": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x02M\xe9\x03.",
        "a plain pickle of os.system": pickle.dumps(Reduced(os.system, TOUCH), 2),
    }
    for cut in range(1, 12):
        built[f"cut at {cut}/12"] = good[: len(good) * cut // 12]
    pickled = members[f"{root}/data.pkl"]
    for cut in (2, 50, len(pickled) // 2, len(pickled) - 1):
        built[f"pickle cut at {cut}"] = write_zip(members | {f"{root}/data.pkl": pickled[:cut]})
    for kind, (old, new) in strides(pickled).items():
        built[kind] = write_zip(members | {f"{root}/data.pkl": pickled.replace(old, new)})
    return built


def strides(pickled: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Edits of the (5, 5) tensor skeleton_scalar: offset 0, sides (5, 5), strides (5, 1)."""
    at = pickled.index(b"K\x00K\x05K\x05\x86")
    end = pickled.index(b"K\x05K\x01\x86", at) + 5
    found = pickled[at:end]
    between = found[7:-5]

    def edit(
        offset: bytes = b"K\x00", sides: bytes = b"K\x05K\x05\x86", steps: bytes = b"K\x05K\x01\x86"
    ) -> tuple[bytes, bytes]:
        return found, offset + sides + between + steps

    huge = b"\x8a\x08" + struct.pack("<q", 2**40)
    return {
        "offset beyond the storage": edit(offset=b"K\x01"),
        "negative offset": edit(offset=b"J\xff\xff\xff\xff"),
        "negative stride": edit(steps=b"J\xff\xff\xff\xffK\x01\x86"),
        "strides of 0": edit(steps=b"K\x00K\x00\x86"),
        "overlapping strides": edit(steps=b"K\x01K\x01\x86"),
        "negative side": edit(sides=b"J\xff\xff\xff\xffK\x05\x86"),
        "side of 2**40": edit(sides=huge + b"K\x05\x86"),
        "huge side by stride 0": edit(sides=huge + b"K\x05\x86", steps=b"K\x00K\x01\x86"),
        "sides of text": edit(sides=binunicode("5") + b"K\x05\x86"),
        "stride of a float": edit(steps=b"G" + struct.pack(">d", 5.0) + b"K\x01\x86"),
        "more strides than sides": edit(steps=b"K\x05K\x01K\x01\x87"),
        "a truth as offset": edit(offset=b"\x89"),
    }


def read_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}


def write_zip(members: dict[str, bytes], compress: int = zipfile.ZIP_STORED, twice: str | None = None) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compress) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
        if twice:
            archive.NameToInfo.pop(twice)  # or it warns
            archive.writestr(twice, members[twice])
    return target.getvalue()


def entries(content: bytes) -> list[int]:
    """Where the entries of the zip's table of contents begin."""
    return [at for at in range(len(content) - 4) if content[at : at + 4] == b"PK\x01\x02"]


def flagged(good: bytes, flag: int) -> bytes:
    content = bytearray(write_zip(read_zip(good)))
    for at in entries(bytes(content)):
        content[at + 8] |= flag
    return bytes(content)


def sized(good: bytes, size: int) -> bytes:
    content = bytearray(write_zip(read_zip(good)))
    for at in entries(bytes(content)):
        content[at + 20 : at + 28] = struct.pack("<II", size, size)
    return bytes(content)


def altered(good: bytes, piece: bytes) -> bytes:
    at = good.index(piece)
    return good[: at + 8] + bytes([good[at + 8] ^ 1]) + good[at + 9 :]


def overlapping(members: dict[str, bytes], largest: str) -> bytes:
    """1000 entries that all point to one storage."""
    content = write_zip(members)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info, start = archive.getinfo(largest), archive.start_dir
    table = b""
    for number in range(1000):
        file = f"{largest}{number}".encode()
        size, check = info.file_size, zlib.crc32(members[largest])
        fields = (b"PK\x01\x02", 20, 20, 0, 0, 0, 0, check, size, size, len(file), 0, 0, 0, 0, 0, info.header_offset)
        table += struct.pack("<4s6H3I5H2I", *fields) + file
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1000, 1000, len(table), start, 0)
    return content[:start] + table + end


def files(good: bytes) -> dict[str, Callable[[], bytes] | bytes]:
    members = read_zip(good)
    root = next(iter(members)).split("/")[0]
    built = {f"pickle: {kind}": write_zip(members | {f"{root}/data.pkl": content}) for kind, content in pickles().items()}
    return built | {f"zip: {kind}": content for kind, content in archives(good).items()}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main(folder: Path) -> None:
    """FOLDER holds good.pth and images/; prints one JSON line for each file."""
    from ppl_cli.cli.app import main as ppl

    os.chdir(folder)
    (folder / "gadget.py").write_text(CODE + "\ndef run():\n    " + CODE + "\n")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()

    def infer(model: Path) -> tuple[object, str]:
        said = io.StringIO()
        try:
            with redirect_stderr(said), redirect_stdout(io.StringIO()):
                ppl(["infer", str(model), "images", "--out", "poses", "--overwrite", "--device", "cpu"])
        except SystemExit as stopped:
            return stopped.code, said.getvalue()
        return None, said.getvalue()

    good = folder / "good.pth"
    # Everything is imported from here on; torch's compiler, which takes seconds, is not among it.
    print(
        json.dumps(
            {"kind": "good", "code": infer(good)[0], "compiler": "torch._inductor" in sys.modules or "sympy" in sys.modules}
        )
    )
    events: list[str] = []
    running = False
    watched = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec", "compile", "import"}
    watched |= {"socket.connect", "os.remove", "shutil.rmtree"}

    def watch(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if running and (event in watched or event.startswith("pickle.") or writes):
            events.append(f"{event} {arguments!r:.100}")

    sys.addaudithook(watch)
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    for kind, content in files(good.read_bytes()).items():
        file = folder / "hostile.pth"
        file.write_bytes(content)
        del content
        events.clear()
        modules_before, before, begun = set(sys.modules), peak(), time.perf_counter()
        running = True
        code, said = infer(file)
        running = False
        result = {"kind": kind, "code": code, "said": said, "seconds": time.perf_counter() - begun, "grown": peak() - before}
        result |= {"events": list(events), "modules": sorted(set(sys.modules) - modules_before)}
        print(json.dumps(result | {"canary": (folder / CANARY).exists()}), flush=True)
    events.clear()
    running = True
    pickle.loads(pickles()["protocol 0 text"])  # what Python itself does with one of them is seen
    running = False
    print(json.dumps({"kind": "executed", "events": events, "canary": (folder / CANARY).exists()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
