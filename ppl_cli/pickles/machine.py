"""Pickles read without executing them: a pickle becomes inert nodes that say what it named, and nothing is imported.

Python's own unpickler calls whatever a file names, allocates what a file declares and hashes what a file nests, all of it
before anyone can look. Here `pickletools` (which only decodes) cuts the file into instructions, and a small machine carries
out those that build plain containers. Each name must be on the caller's list, and even then it is never looked up: a
`Node` remembers the name, the arguments and the state.
"""

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ppl_cli.files import RefusedError, read_limited, refusing
from ppl_cli.text import printable

MOST_BYTES = 256 << 20
MOST_INSTRUCTIONS = 3_000_000
LARGEST_KEY = 1 << 20  # of a dictionary with whole numbers as keys

VALUES = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    )
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
FIXED_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class UnreadablePickleError(RefusedError):
    """Damaged, or naming what it must not; the message says which."""


@dataclass(eq=False, repr=False)
class Node:
    """Stands for what a pickle names (`args` is None), or for an object or a call that it describes."""

    module: str
    name: str
    args: tuple | None = None
    state: object = None


def read_pickle(path: Path, allowed: Collection[tuple[str, str]]) -> object:
    """The pickle as plain containers and `Node`s. UsageError names the file and why it is refused."""
    content = read_limited(path, MOST_BYTES)
    with refusing(path, "is not a readable pickle"):
        return Machine(allowed).run(content)


def refuse_outside(key: object) -> object:
    raise UnreadablePickleError("it refers to objects outside itself")


class Machine:
    """Carries out the instructions of a pickle. Sets become lists; ordered dictionaries plain ones.

    `allowed`: (module or its first part, name); `outside`: what stands for an object outside the pickle, by its key.
    """

    def __init__(self, allowed: Collection[tuple[str, str]], outside: Callable[[object], object] = refuse_outside):
        self.allowed, self.outside = allowed, outside
        self.stack: list = []
        self.below: list[list] = []  # the stacks under the marks
        self.memo: dict[int, object] = {}

    def run(self, content: bytes) -> object:
        """UnreadablePickleError says what is refused; a damaged pickle raises any exception."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number > MOST_INSTRUCTIONS:
                raise UnreadablePickleError(f"it has more than {MOST_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in VALUES:
                self.stack.append(argument)
            else:
                self.step(opcode.name, argument)
        raise UnreadablePickleError("it has no end")

    def step(self, name: str, argument: object) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(CONSTANTS[name])
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple([stack.pop() for _ in range(FIXED_TUPLES[name])][::-1]))
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                items = self.since_mark()
                self.stack.append(tuple(items))
            case "LIST" | "FROZENSET":
                items = self.since_mark()
                self.stack.append(items)
            case "DICT":
                items = self.since_mark()
                self.stack.append({})
                self.set_items(items)
            case "APPEND":
                self.extend([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self.extend(self.since_mark())
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.set_items([key, value])
            case "SETITEMS":
                self.set_items(self.since_mark())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                module, _, attribute = argument.partition(" ")
                stack.append(self.named(module, attribute))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self.named(module, attribute))
            case "REDUCE" | "NEWOBJ":
                args, function = stack.pop(), stack.pop()
                stack.append(described(function, args))
            case "BUILD":
                state = stack.pop()
                give_state(stack[-1], state)
            case "BINPERSID":
                stack.append(self.outside(stack.pop()))
            case _:
                raise UnreadablePickleError(f"it uses {name}, which ppl does not carry out")

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.below.pop()
        return items

    def named(self, module: object, name: object) -> Node:
        if type(module) is not str or type(name) is not str:
            raise UnreadablePickleError("it names something by a value that is not text")
        if (module, name) not in self.allowed and (module.partition(".")[0], name) not in self.allowed:
            raise UnreadablePickleError(f"it names {printable(f'{module}.{name}')}, which ppl does not run")
        return Node(module, name)

    def extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise UnreadablePickleError("it appends to a value that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list) -> None:
        if type(self.stack[-1]) is not dict:
            raise UnreadablePickleError("it sets items of a value that is not a dictionary")
        fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))


def fill(target: dict, pairs) -> None:
    # Other keys could be made to collide, or, as nested tuples, to be hashed for ever or until the stack overflows.
    for key, value in pairs:
        if type(key) is not str and not (type(key) is int and 0 <= key < LARGEST_KEY):
            raise UnreadablePickleError(f"a dictionary has a key of the type {type(key).__name__}")
        target[key] = value


def described(function: object, args: object) -> object:
    if not isinstance(function, Node) or function.args is not None or type(args) is not tuple:
        raise UnreadablePickleError("it calls something that is not a name")
    if function.name != "OrderedDict":
        return Node(function.module, function.name, args)
    ordered: dict = {}
    fill(ordered, args[0] if args else ())
    return ordered


def give_state(target: object, state: object) -> None:
    if isinstance(target, Node) and target.args is not None:
        target.state = state
    elif type(target) is not dict:  # attributes of an ordered dictionary mean nothing to us
        raise UnreadablePickleError("it sets the state of something that is not an object")
