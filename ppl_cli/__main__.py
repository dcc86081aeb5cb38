"""The program, as `ppl` and as `python -m ppl_cli`, and how it ends."""

import atexit
import os
import sys

code: int | None = None  # to exit with; None until the program has come to its end


def run() -> None:
    global code
    atexit.register(leave)  # the first to be registered is the last to be called
    from ppl_cli.cli.app import main

    try:
        main()
    except SystemExit as end:
        code = end.code
        raise


def leave() -> None:
    """End at once. Files are closed and threads have ended by now; PyTorch would take half a second to take itself apart."""
    if code is None or "torch" not in sys.modules:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # Python knows what to say and to exit with
        return
    os._exit(code)


if __name__ == "__main__":
    run()
