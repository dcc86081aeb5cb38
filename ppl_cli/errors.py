"""The exceptions a user can meet. Their message is one line: what, where, what to do."""


class PPLError(Exception):
    """Base: the command failed at run time (exit code 1)."""

    exit_code = 1


class DiskFullError(PPLError):
    """There is no space left to write to: whatever comes next would fail too."""


class UsageError(PPLError):
    """Wrong usage, configuration or input path (exit code 2)."""

    exit_code = 2


class UnreadableImageError(Exception):
    """An image that cannot be decoded; the message says why, without the file's name."""


class InterruptedRunError(PPLError):
    """Stopped by SIGINT or SIGTERM after saving (exit code 130)."""

    exit_code = 130
