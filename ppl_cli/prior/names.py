"""Names that keypoints get after training.

They live in `prior.json` of the run folder, where a person or `ppl export-prior --names` writes them; what is there comes
before what the header of the model file says.
"""

from pathlib import Path

from pydantic import ValidationError

from ppl_cli.config.sections import Config
from ppl_cli.errors import UsageError
from ppl_cli.files import read_limited
from ppl_cli.prior.prior import Keypoint, first_problem, load_prior, number_names
from ppl_cli.text import counted, printable

LARGEST_FILE = 1 << 20  # bytes


def read_names(file: Path, count: int) -> list[str]:
    """`count` names, one a line. UsageError says which line is wrong."""
    try:
        text = read_limited(file, LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not text in UTF-8") from error
    lines: dict[str, int] = {}
    for line, name in enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), 1):
        name = name.strip(" ")
        if not name:
            raise UsageError(f"{file}, line {line}: expected the name of a keypoint, got nothing")
        try:
            Keypoint(name=name, x=0, y=0)
        except ValidationError as error:
            raise UsageError(f"{file}, line {line}: {first_problem(error)}") from None
        if name in lines:
            raise UsageError(f"{file}: lines {lines[name]} and {line} have the same name, {printable(name)}")
        lines[name] = line
    if len(lines) != count:
        raise UsageError(f"{file} has {counted(len(lines), 'name')}, the model {counted(count, 'keypoint')}")
    return list(lines)


def with_names_of_run(config: Config, folder: Path) -> Config:
    """Fills in the names of the run's `prior.json`, where there is one. UsageError if it is no prior of this model."""
    file = folder / "prior.json"
    if not file.is_file():
        return config
    names = load_prior(file).names
    if len(names) != config.model.keypoints:
        held, needed = counted(len(names), "keypoint"), config.model.keypoints
        raise UsageError(f"{file} has {held}, the model beside it {needed}: it belongs to another model, or was cut")
    return config if names == (config.prior.names or number_names(len(names))) else config.with_fields("prior", names=names)
