"""Protocols by name: which ones, with which options, and what is said of wrong ones."""

import pytest

from ppl_cli.errors import UsageError
from ppl_cli.evaluation.human36m import Human36m
from ppl_cli.evaluation.judge import HiddenPatches
from ppl_cli.evaluation.protocol_options import NAMES, ProtocolOptions, choose_protocols
from ppl_cli.evaluation.protocols import Pck, Regression, Taichi


def test_without_names_the_usual_protocols_of_the_data():
    assert choose_protocols("coco", ProtocolOptions()) == [Regression(), Regression(name="ridge", penalty="loo")]
    assert choose_protocols("h36m_wobg", ProtocolOptions()) == [Human36m()]
    assert choose_protocols("h5", ProtocolOptions()) == [Regression(name="cub", bias=False)]
    assert choose_protocols("taichi", ProtocolOptions(bias=False)) == [Taichi(bias=False)]


def test_every_name_is_a_protocol_and_a_second_mention_counts_for_nothing():
    everything = choose_protocols("coco", ProtocolOptions(",".join(NAMES)))
    assert len(everything) == len(NAMES) + 2  # two thresholds of pck, two kinds of matching
    assert choose_protocols("coco", ProtocolOptions("ridge, ridge")) == choose_protocols("coco", ProtocolOptions("ridge"))


def test_options_reach_their_protocol():
    options = ProtocolOptions("ridge,pck,h36m", False, "centre", 0.5, "0.0235,6px", "published")
    ridge, share, pixels, people = choose_protocols("coco", options)
    assert ridge == Regression(name="ridge", bias=False, origin="centre", penalty=0.5)
    assert share == Pck(name="pck@0.0235", bias=False, origin="centre", threshold=0.0235)
    assert pixels == Pck(name="pck@6px", bias=False, origin="centre", threshold=6, pixels=True)
    assert people == Human36m(bias=False, origin="centre", table="published")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ProtocolOptions("rigde"), "no such protocol (did you mean ridge?)"),
        (ProtocolOptions(origin="center"), "expected corner or centre"),
        (ProtocolOptions("h36m", swap_table="wrong"), "expected corrected or published"),
        (ProtocolOptions("ridge", penalty=0), "expected loo, stretches or a number above 0"),
        (ProtocolOptions("ridge", penalty="nan"), "expected loo, stretches or a number above 0"),
        (ProtocolOptions("pck", thresholds="0"), "expected shares of the image side"),
        (ProtocolOptions("pck", thresholds="0.05,5"), "5 image sides are more than an image; write 0.05 or 5px"),
        (ProtocolOptions("ridge", thresholds="0.1"), "--threshold belongs to the protocol pck: add --protocol ridge,pck"),
    ],
)
def test_wrong_options_are_said(options, said):
    with pytest.raises(UsageError) as caught:
        choose_protocols("coco", options)
    assert said in str(caught.value)


def test_hidden_patches_are_checked_when_they_are_named():
    hidden = HiddenPatches(["random=0.1,0.2", "center=4"])
    assert [occlusion.label for occlusion in hidden.occlusions] == ["random 0.1", "random 0.2", "center 4"]
    with pytest.raises(UsageError, match="expected visible, found or paper"):
        HiddenPatches(method="visable")
    with pytest.raises(UsageError, match="iterations: expected a whole number of 0 or more, got -1"):
        HiddenPatches(["center=4"], iterations=-1)
    with pytest.raises(UsageError, match="shares between 0 and 1"):
        HiddenPatches(["random=4"])
