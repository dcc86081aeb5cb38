"""Several processes of one command, started by torchrun: who they are, and what they tell each other.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK. Without it a command is one process, its own leader, and nothing here
waits for anybody. Only the leader writes files of the run and talks to the user. torch is imported where it is used:
`ppl --help` asks too.
"""

import itertools
import os
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
    # RANK and WORLD_SIZE alone may have been left in a shell, and then nobody else comes.
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def first_to_say(line: str) -> bool:
    """Whether no other process has said the same line: what is wrong everywhere is said once.

    torchrun keeps a store that all processes reach; where they do not, the first speaks.
    """
    if launched()[1] == 1:
        return True
    try:
        from torch.distributed import TCPStore

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5), wait_for_workers=False)
        return store.add(f"ppl said {line}", 1) == 1
    except Exception:
        return launched()[0] == 0


def join_store() -> "Store":
    """The store of torchrun's processes, in it a place of this meeting's own."""
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://", timeout=JOINING))
    store.set_timeout(PATIENCE)
    return PrefixStore(f"ppl {next(MEETINGS)}", store)


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
        dist.init_process_group(backend, store=join_store(), rank=rank, world_size=size, timeout=PATIENCE)
        yield World(rank, size)
    except RuntimeError as error:
        if any(sign in str(error) for sign in LOST):
            raise PPLError("another process of this command has ended; it says why, or torchrun does") from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
