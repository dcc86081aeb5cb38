"""The skeleton in the forms that other tools read: COCO category, SLEAP, DeepLabCut. Links: the strong ones."""

import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from ppl_cli.files import replace_text
from ppl_cli.prior.prior import Prior

FILES = {"coco": "categories.json", "sleap": "skeleton.sleap.json", "deeplabcut": "skeleton.deeplabcut.yaml"}
SIGMA = 0.067  # the mean of those that COCO gives to its 17 keypoints of people


def coco_category(prior: Prior) -> dict[str, object]:
    """Its skeleton counts keypoints from 1; `sigmas` are the tolerances that the OKS measure needs, in COCO's unit."""
    skeleton = [[i + 1, j + 1] for i, j in prior.strong_links()]
    category = {"id": 1, "name": "object", "supercategory": "object", "keypoints": prior.names, "skeleton": skeleton}
    return category | {"sigmas": [SIGMA] * len(prior.names)}


def coco_categories(prior: Prior) -> str:
    return json.dumps({"categories": [coco_category(prior)]}, indent=1, ensure_ascii=False)


def sleap_skeleton(prior: Prior) -> str:
    """SLEAP's skeleton JSON: a node-link graph in jsonpickle's notation, where an object is spelt out at its first mention
    and then named by its number in order of appearance."""
    known: dict[str, int] = {}

    def node(name: str) -> dict:
        if name in known:
            return {"py/id": known[name]}
        known[name] = len(known) + 1
        return {"py/object": "sleap.skeleton.Node", "py/state": {"py/tuple": [name, 1.0]}}

    links = []
    for number, (i, j) in enumerate(prior.strong_links()):
        source, target = node(prior.names[i]), node(prior.names[j])
        if number == 0:
            kind = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]}
            known["(edge type)"] = len(known) + 1
        else:
            kind = {"py/id": known["(edge type)"]}
        links.append({"edge_insert_idx": number, "key": 0, "source": source, "target": target, "type": kind})
    graph = {"name": "prior", "num_edges_inserted": len(links)}
    nodes = [{"id": node(name)} for name in prior.names]
    return json.dumps({"directed": True, "graph": graph, "links": links, "multigraph": True, "nodes": nodes}, indent=1)


def deeplabcut_skeleton(prior: Prior) -> str:
    """The lines `bodyparts` and `skeleton` of a DeepLabCut project's config.yaml."""
    links = [[prior.names[i], prior.names[j]] for i, j in prior.strong_links()]
    return yaml.safe_dump({"bodyparts": prior.names, "skeleton": links}, sort_keys=False, allow_unicode=True)


WRITERS = {"coco": coco_categories, "sleap": sleap_skeleton, "deeplabcut": deeplabcut_skeleton}


def save_skeletons(folder: Path, prior: Prior, formats: Iterable[str]) -> None:
    for form in formats:
        replace_text(folder / FILES[form], WRITERS[form](prior))
