"""Programs in processes of their own that take no seconds to start: forked from a server that has imported torch.

Several at once are the processes of one command: they get the variables and the store that torchrun gives its own.
"""

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

from torch.distributed import TCPStore

NO_PICTURES = """
import PIL.Image
from ppl_cli.api import train
from ppl_cli.training import loop, save
train.report_training = lambda run, listing, say: run
save.sample_sheet = lambda *arguments: PIL.Image.new("RGB", (1, 1))
loop.save_curves = lambda path, rows: path.touch()
"""  # as the fixture no_pictures
ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["__main__", "tests.preloaded"])


@dataclass
class Fork:
    """One program; `said` and `erred` get its stdout and stderr."""

    process: multiprocessing.Process
    said: Path
    erred: Path

    def wait(self) -> int:
        """Its exit code, or minus the number of the signal that ended it."""
        self.process.join()
        return self.process.exitcode

    def send(self, sign: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(self.process.pid, sign)

    @property
    def out(self) -> str:
        return self.said.read_text()

    @property
    def error(self) -> str:
        return self.erred.read_text()


class Forks:
    """Starts programs; what they print goes to files in `folder`."""

    def __init__(self, folder: Path):
        self.folder, self.started = folder, 0
        with contextlib.chdir(ROOT):  # from elsewhere the server may find another package called `tests`
            forkserver.ensure_running()

    def start(self, *arguments: object, module: str = "ppl_cli", prepare: str = "", **environment: object) -> Fork:
        """`python -m MODULE ARGUMENTS` in this folder, after the code `prepare`, with variables of its own."""
        self.started += 1
        said, erred = (self.folder / f"{self.started}.{name}" for name in ("out", "err"))
        variables = {name: str(value) for name, value in environment.items()}
        order = (module, list(map(str, arguments)), prepare, variables, os.getcwd(), said, erred)
        process = CONTEXT.Process(target=become, args=order, daemon=True)
        process.start()
        return Fork(process, said, erred)

    def run(self, *arguments: object, **settings) -> Fork:
        """As `start`; it has ended."""
        fork = self.start(*arguments, **settings)
        fork.wait()
        return fork

    def start_two(self, *arguments: object, **settings) -> "Two":
        """`torchrun --nproc-per-node 2 -m MODULE ARGUMENTS`."""
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        settings |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True}
        settings |= {"TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": 0}
        return Two([self.start(*arguments, **settings, WORLD_SIZE=2, RANK=rank, LOCAL_RANK=rank) for rank in (0, 1)], store)

    def run_two(self, *arguments: object, **settings) -> "Two":
        """As `start_two`; both have ended."""
        two = self.start_two(*arguments, **settings)
        two.wait()
        return two


def torchrun(forks: Forks, *arguments: object) -> Fork:
    """torchrun itself, which starts two processes of `ppl` without this server; it has ended."""
    command = ("--standalone", "--nproc-per-node", 2, "-m", "ppl_cli", *arguments)
    return forks.run(*command, module="torch.distributed.run", PYTHONPATH=ROOT)


@dataclass
class Two:
    """Two processes of one command."""

    forks: list[Fork]
    store: TCPStore  # lives as long as they do

    def wait(self) -> list[int]:
        return [fork.wait() for fork in self.forks]

    def send(self, sign: int = signal.SIGKILL) -> None:
        for fork in self.forks:
            fork.send(sign)

    @property
    def out(self) -> str:
        return "".join(fork.out for fork in self.forks)

    @property
    def error(self) -> str:
        return "".join(fork.error for fork in self.forks)


def become(module: str, arguments: list[str], prepare: str, variables: dict[str, str], folder: str, said: Path, erred: Path):
    """The program, in the forked process."""
    for number, file in ((1, said), (2, erred)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    os.environ.update(variables)
    exec(prepare, {})
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
