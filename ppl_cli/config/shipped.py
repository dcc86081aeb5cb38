"""The configurations that come with ppl. Nothing here imports pydantic or YAML: shell completion asks for the names."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def shipped_configs() -> dict[str, Path]:
    """Name -> file, from the source tree or the installed package."""
    installed = PACKAGE / "configs"
    folder = installed if installed.is_dir() else PACKAGE.parent / "configs"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}
