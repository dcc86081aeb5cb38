"""The house: imports only run down, rooms form no circle, files and lists of parameters stay short."""

import ast
import graphlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ppl_cli"
FLOORS = [
    {"cli", "__main__"},
    {"api"},
    {"training", "evaluation", "inference", "results"},
    {"checkpoints", "original", "prior", "drawing"},
    {"data"},
    {"config", "device", "distributed", "lock", "pickles", "runtime"},
    {"files", "heap", "text"},
    {"model", "errors"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def imports(file: Path) -> set[str]:
    """Parts of ppl_cli that a file imports: `data` for ppl_cli.data.images."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ppl_cli."):
            names.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ppl_cli.")}
    return names


def test_imports_only_run_down():
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for other in imports(file):
            assert FLOOR[other] >= FLOOR[part], f"{file}: {part} imports {other}"
            assert part != "model" or other == "model", f"{file} imports {other}"


def test_rooms_form_no_circle():
    rooms: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        rooms.setdefault(room, set()).update(imports(file) - {room})
    graphlib.TopologicalSorter(rooms).prepare()  # CycleError names the circle


def test_functions_take_at_most_seven_parameters():
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name == "cli" or "triton" in file.name:  # each option of a command is a parameter
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                assert len([name for name in arguments if name not in ("self", "cls")]) <= 7, f"{file}: {node.name}"


def test_files_stay_short():
    for file in PACKAGE.rglob("*.py"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 300, file
