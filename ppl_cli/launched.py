"""Whether this process is one of several that torchrun started. Imports nothing: `ppl --help` asks too."""

import os


def launched() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says; (0, 1) without it."""
    try:
        rank, size = int(os.environ.get("RANK", "")), int(os.environ.get("WORLD_SIZE", ""))
    except ValueError:
        return 0, 1
    return (rank, size) if 0 <= rank < size else (0, 1)


def first_to_say(line: str) -> bool:
    """Whether no other process has said the same line: what is wrong everywhere is said once.

    torchrun keeps a store that all processes reach; where it cannot be reached, the first process speaks.
    """
    rank, size = launched()
    if size == 1:
        return True
    try:
        from datetime import timedelta

        from torch.distributed import TCPStore

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=5), wait_for_workers=False)
        return store.add(f"ppl said {line}", 1) == 1
    except Exception:
        return rank == 0
