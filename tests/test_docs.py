"""README and docs/ are true: commands and Python run on small input, what they name exists, links lead somewhere."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import typer.main
from PIL import Image
from safetensors.torch import save_file

import ppl_cli
from ppl_cli.api.unlabelled import report_training
from ppl_cli.cli.app import app, main
from ppl_cli.config.sections import Config
from ppl_cli.data.figures import figure
from ppl_cli.prior.prior import Prior
from tests.data import layouts

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *PAGES]
LONGEST_README = 170  # lines
COMPUTING = ("train", "infer", "refine", "eval", "export-prior")
SMALL = {
    **{"model.image_size": 32, "model.width": 4, "model.dimension": 16, "model.banks": 3, "data.figures": 8},
    **{"train.steps": 2, "train.batch": 4, "loss.kind": "multiscale"},
}
BY_TITLE = {"ids": lambda document: document.name}


def text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(document), re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[list[str]]:
    """The arguments of each `ppl` line of its bash blocks."""
    lines = "\n".join(blocks(document, "bash")).replace("\\\n", " ").splitlines()
    # Commands for several processes are run by one here; tests/training/test_distributed.py runs two.
    lines = [re.sub(r"^(srun )?torchrun .*-m ppl_cli", "ppl", line) for line in lines]
    parts = [part.split("#")[0].strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part)[1:] for part in parts if part.startswith("ppl ")]


class Workshop:
    """A folder with everything that the commands read, where each kind of command runs once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.outputs: dict[tuple[str, ...], str | None] = {}  # of the kinds of commands that ran
        for name in ("photos", "masks", "videos/a", "videos/b"):
            (folder / name).mkdir(parents=True)
        for i in range(6):
            picture = Image.fromarray(np.asarray(figure(i, 64)[0]))
            picture.save(folder / "photos" / f"{i}.jpg")
            picture.save(folder / "videos" / "ab"[i % 2] / f"{i}.png")
            Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), 22)).save(folder / "masks" / f"{i}.png")
        for name in ("annotated", "mirror_mouse", "open_field_mouse", "tiger"):
            layouts.coco(folder / name)
        layouts.deeplabcut(folder / "deeplabcut")
        layouts.human36m(folder / "human36m")
        layouts.taichi(folder / "taichi")
        layouts.cub(folder / "cub.h5")
        save_file(timm.create_model("tf_efficientnet_lite0").state_dict(), folder / "lite0.safetensors")  # but not pretrained

    def run(self, arguments: list[str]) -> None:
        """Commands that differ only in files run once; the others get a copy of what the first wrote."""
        out = arguments[arguments.index("--out") + 1] if "--out" in arguments else None
        kind = tuple("FILE" if self.is_file(word) else re.sub(r"(seed|steps)=\d+", r"\1", word) for word in arguments)
        if kind in self.outputs:
            if out and not (self.folder / out).exists():
                shutil.copytree(self.folder / self.outputs[kind], self.folder / out)
            return
        command = list(arguments)
        if command[0] == "train" and not {"--fields", "--show"} & set(command):
            command += [word for field, value in SMALL.items() for word in ("--set", f"{field}={value}")]
        if command[0] in COMPUTING and "--fields" not in command:
            command += ["--device", "cpu"]
        with pytest.MonkeyPatch.context() as patch:
            if {"--seeds", "--try"} & set(command):  # compared by their reports, which no_pictures leaves out
                patch.setattr("ppl_cli.api.train.report_training", report_training)
            with pytest.raises(SystemExit) as stopped:
                main(command)
        assert stopped.value.code == 0, "ppl " + " ".join(arguments)
        self.outputs[kind] = out

    def is_file(self, word: str) -> bool:
        """Something to read or to write (options and settings are not)."""
        return not word.startswith("-") and "=" not in word and ("/" in word or (self.folder / word).exists())


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Workshop:
    """Where the commands of README have run: those of docs/ go on from there."""
    workshop = Workshop(tmp_path_factory.mktemp("workshop"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workshop.folder)
        for arguments in commands(README):
            workshop.run(arguments)
    return workshop


@pytest.fixture
def inside(workshop, monkeypatch, no_pictures) -> Workshop:
    monkeypatch.chdir(workshop.folder)
    return workshop


def test_the_commands_that_start_everything():
    assert "pip install -e . && ppl train quickstart" in text(README)
    assert "pip install -e '.[test]' && pytest" in text(README)
    assert len(commands(README)) >= 5
    assert sum(len(commands(page)) for page in PAGES) >= 30


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], **BY_TITLE)
def test_every_command_runs(inside, page):
    for arguments in commands(page):
        inside.run(arguments)


@pytest.mark.parametrize("document", [README, ROOT / "docs" / "python.md", ROOT / "docs" / "analysis.md"], **BY_TITLE)
def test_every_line_of_python_runs(inside, document, monkeypatch):
    train = ppl_cli.train

    def small_train(*arguments, resume=False, **settings):
        return train(*arguments, resume=resume, **(settings if resume else settings | SMALL))

    monkeypatch.setattr(ppl_cli, "train", small_train)
    for arguments in commands(document) if document != README else ():
        if not Path(arguments[arguments.index("--out") + 1]).exists():  # else its commands were tested in this process
            inside.run(arguments)
    names: dict[str, object] = {}
    for block in blocks(document, "python"):
        exec(compile(block, str(document), "exec"), names)


def test_the_prior_drawn_by_hand_is_one():
    (drawn,) = blocks(ROOT / "docs" / "prior.md", "json")
    assert Prior.model_validate_json(drawn).names == ["head", "hip", "left_foot", "right_foot"]


@pytest.mark.parametrize("document", DOCUMENTS, **BY_TITLE)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", text(document)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path) if path else document
        assert linked.is_file(), f"{document.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", text(linked), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}, target


def test_every_page_and_picture_is_linked():
    linked = {(document.parent / target).resolve() for document in DOCUMENTS for target in links(document)}
    assert {path.name for path in (ROOT / "docs").iterdir() if path.resolve() not in linked} == set()
    assert {page.name for page in PAGES} <= {Path(target).name for target in links(README)}


def links(document: Path) -> list[str]:
    return [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text(document))]


@pytest.mark.parametrize("document", DOCUMENTS, **BY_TITLE)
def test_files_options_and_fields_exist(document):
    for path in re.findall(r"`((?:ppl_cli|tests|configs|docs|\.ci)/[\w./-]*)`", text(document)):
        assert (ROOT / path).exists(), path
    if document.name == "experiments.md":  # it tells of options that are gone
        return
    group = typer.main.get_command(app)
    parameters = [parameter for command in (group, *group.commands.values()) for parameter in command.params]
    options = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    # A line that names another tool, or a page that shows a cluster's script, has options of theirs.
    ours = "\n".join(line for line in text(document).splitlines() if not re.search(r"torchrun|#SBATCH|`--signal`|ruff", line))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", ours)) - options - {"--help"} == set()
    sections = {name: field.annotation.model_fields for name, field in Config.model_fields.items() if is_section(field)}
    for section, field in re.findall(rf"\b({'|'.join(sections)})\.([a-z_]+)=", text(document)):
        assert field in sections[section], f"{section}.{field}"


def test_pages_that_the_source_cites_exist():
    sources = [*(ROOT / "ppl_cli").rglob("*.py"), *(ROOT / "configs").glob("*.yaml"), *(ROOT / "tests").rglob("*.py")]
    cited = {page for source in sources for page in re.findall(r"docs/\w+\.md", text(source))}
    assert {page for page in cited if not (ROOT / page).is_file()} == set()


def is_section(field) -> bool:
    return hasattr(field.annotation, "model_fields")


def test_readme_stays_short():
    assert len(text(README).splitlines()) <= LONGEST_README
