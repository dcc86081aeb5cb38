"""Several processes of one command, started by torchrun: who they are, and what they tell each other.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK. Without them a command is one process, its own leader, and nothing here
waits for anybody. Only the leader writes files of the run and talks to the user. torch is imported where it is used:
`ppl --help` asks too.

The processes meet at a store, a small server at MASTER_ADDR:MASTER_PORT. Whoever started them may have left these variables
in a shell, and then nobody else comes: so a process that waits says so, and looks again every moment instead of inside
torch, which hears no Ctrl-C.
"""

import itertools
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from ppl_cli.errors import PPLError, UsageError

if TYPE_CHECKING:
    import torch
    from torch.distributed import Store

    from ppl_cli.device import Compute

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # one process may read a large folder or write pictures while the others wait
JOINING = timedelta(minutes=10)  # for all processes to arrive
QUIET = {False: 1, True: 60}  # seconds before a process says that it waits; by whether torchrun has started all of them
UNSET = "if you did not start several processes, unset them: unset RANK WORLD_SIZE"
MEETINGS = itertools.count()  # of this process: the same in all of them
LOST = ("Connection closed by peer", "Connection reset by peer", "ncclRemoteError", "Broken pipe")


@dataclass(frozen=True)
class World:
    rank: int = 0
    size: int = 1

    @property
    def leader(self) -> bool:
        return self.rank == 0

    def from_leader(self, value: T) -> T:
        """What the leader passes in; what the others pass in does not count."""
        return self.from_all(value)[0]

    def any(self, flag: bool, device: "torch.device") -> bool:
        """Whether the flag is up in one process at least; every process must ask."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed as dist

        raised = torch.tensor(int(flag), device=device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)

    def from_all(self, value: T) -> list[T]:
        """What every process passes in, in their order."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, value)
        return held

    def share(self, count: int) -> range:
        """This process's piece of 0 ... count - 1: pieces follow each other and differ by one at most."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)


ALONE = World()


def launched() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says; (0, 1) without it."""
    try:
        rank, size = int(os.environ.get("RANK", "")), int(os.environ.get("WORLD_SIZE", ""))
    except ValueError:
        return 0, 1
    return (rank, size) if 0 <= rank < size else (0, 1)


def torchrun_keeps_the_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def first_to_say(line: str) -> bool:
    """Whether no other process has said the same line: what is wrong everywhere is said once.

    torchrun keeps a store that all processes reach; without it each speaks for itself.
    """
    if launched()[1] == 1 or not torchrun_keeps_the_store():
        return True
    try:
        from torch.distributed import TCPStore

        address, port = meeting_place()
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5), wait_for_workers=False)
        return store.add(f"ppl said {line}", 1) == 1
    except Exception:
        return launched()[0] == 0


def meeting_place() -> tuple[str, int]:
    """Address and port of the store. UsageError where the environment does not say them."""
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if not address or not port.isdecimal():
        missing = "MASTER_ADDR" if not address else "MASTER_PORT"
        raise UsageError(f"{describe_variables()}, but not {missing}, where the processes meet; {UNSET}")
    return address, int(port)


def describe_variables() -> str:
    return "RANK={} and WORLD_SIZE={} are set in your shell".format(*launched())


def waits() -> Iterator[None]:
    """A moment between two looks. Once they have taken long it is said, and in the end PPLError is raised."""
    rank, size = launched()
    where = "{}:{}".format(*meeting_place())
    began, said = time.monotonic(), False
    together = "TORCHELASTIC_RUN_ID" in os.environ
    others = f"{'1 other process' if size == 2 else f'{size - 1} other processes'} at {where}"
    hint = f"{describe_variables()}; {UNSET}"
    while True:
        yield
        waited = time.monotonic() - began
        if waited > JOINING.total_seconds():
            raise PPLError(f"waited {JOINING.seconds // 60} minutes for {others}: not all came. {hint}")
        if waited > QUIET[together] and not said:
            # Not to sys.stderr: it leads nowhere in all processes but the leader.
            print(
                f"ppl: process {rank} waits for {others}, for at most {JOINING.seconds // 60} minutes (Ctrl-C ends it). {hint}",
                file=sys.__stderr__,
                flush=True,
            )
            said = True
        time.sleep(0.1)


def join_store(rank: int, size: int) -> "Store":
    """The store, once all processes have come. The first keeps it, unless torchrun does."""
    from torch.distributed import DistNetworkError, PrefixStore, TCPStore

    address, port = meeting_place()
    keeper = rank == 0 and not torchrun_keeps_the_store()
    waiting = waits()
    while not keeper and not listens(address, port):
        next(waiting)
    try:
        store = TCPStore(
            "localhost" if keeper else address,
            port,
            is_master=keeper,
            timeout=timedelta(seconds=30),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except DistNetworkError as error:
        reason = "the port is in use" if "EADDRINUSE" in str(error) else str(error).partition("\n")[0]
        raise PPLError(
            f"several processes cannot meet at {address}:{port}: {reason}. {describe_variables()}: {UNSET}"
        ) from error
    store.set_timeout(PATIENCE)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = PrefixStore(f"ppl {attempt} {next(MEETINGS)}", store)
    arrived = own.add("arrived", 1)
    while arrived < size:
        next(waiting)
        arrived = own.add("arrived", 0)
    return own


def listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def check_gpus() -> None:
    """UsageError where this process's number says that there are more processes than GPUs."""
    import torch

    local, gpus = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
    if local.isdecimal() and int(local) >= gpus:
        seen = "1 GPU" if gpus == 1 else f"{gpus} GPUs"
        raise UsageError(
            f"LOCAL_RANK is {local}, and this process sees {seen}: in training each process needs a GPU of its own "
            f"(torchrun --nproc-per-node {gpus})"
        )


@contextmanager
def processes(compute: "Compute", training: bool = False) -> Iterator[World]:
    """Joins the other processes of this command for as long as the block runs.

    Only in training do tensors on GPUs meet, each process with a GPU of its own. Else several may share one: with a lock for
    each Python they read more images.
    """
    rank, size = launched()
    if size == 1:
        yield ALONE
        return
    import torch.distributed as dist

    if compute.device.type not in ("cpu", "cuda"):
        raise UsageError(f"several processes work on CPUs and CUDA GPUs, not on {compute.device.type}: add --device cpu")
    meeting_on_gpus = training and compute.device.type == "cuda"
    if meeting_on_gpus:
        check_gpus()
    try:
        backend = "nccl" if meeting_on_gpus else "gloo"
        dist.init_process_group(backend, store=join_store(rank, size), rank=rank, world_size=size, timeout=PATIENCE)
        yield World(rank, size)
    except RuntimeError as error:
        if any(sign in str(error) for sign in LOST):
            raise PPLError("another process of this command has ended; it says why, or torchrun does") from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
