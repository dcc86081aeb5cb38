"""Restricted pickles: tables come out right, and nothing that a file names is ever run."""

import os
import pickle
import subprocess

import numpy as np
import pandas as pd
import pytest

from ppl_cli.data.pickled_tables import ARRAYS, as_array, read_table
from ppl_cli.errors import UsageError
from ppl_cli.pickles.machine import read_pickle

ARRAY_KINDS = [
    np.arange(6.0).reshape(3, 2),
    np.asfortranarray(np.arange(6, dtype=np.int32).reshape(3, 2)),
    np.arange(4, dtype=">f4"),
    np.array([True, False]),
    np.empty((0, 3)),
]


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("array", ARRAY_KINDS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_of_every_protocol(tmp_path, protocol, array):
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(array, protocol))
    found = as_array(read_pickle(file, ARRAYS))
    assert np.array_equal(found, array)
    assert found.shape == array.shape


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_real_data_frame(tmp_path, protocol):
    poses = [np.arange(6.0).reshape(3, 2) + i for i in range(4)]
    frame = pd.DataFrame({"file_name": list("abcd"), "frame_number": [3, 1, 4, 1], "value": poses, "score": np.arange(4) / 7})
    file = tmp_path / "t.pkl"
    frame.to_pickle(file, protocol=protocol)
    table = read_table(file)
    assert list(table) == list(frame)
    assert table["file_name"] == list("abcd")
    assert table["frame_number"] == [3, 1, 4, 1]
    assert table["score"] == (np.arange(4) / 7).tolist()
    assert all(np.array_equal(a, b) for a, b in zip(table["value"], poses, strict=True))


def test_a_data_frame_with_one_kind_of_column(tmp_path):
    frame = pd.DataFrame({"x": [1.5, 2.5], "y": [3.5, 4.5]})
    frame.to_pickle(tmp_path / "t.pkl")
    assert read_table(tmp_path / "t.pkl") == {"x": [1.5, 2.5], "y": [3.5, 4.5]}


class Hostile:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


def hostile(witness):
    command = f"touch {witness}"
    return {
        "os.system": Hostile(os.system, command),
        "eval": Hostile(eval, f"open({str(witness)!r}, 'w')"),
        "subprocess": Hostile(subprocess.call, ["touch", str(witness)]),
        "inside a list": [1, {"x": Hostile(os.system, command)}],
        "pandas.read_pickle": Hostile(pd.read_pickle, "elsewhere.pkl"),
        "numpy.load": Hostile(np.load, "elsewhere.npy", None, True),
        "getattr": Hostile(getattr, os, "system"),
    }


@pytest.mark.parametrize(
    "kind", ["os.system", "eval", "subprocess", "inside a list", "pandas.read_pickle", "numpy.load", "getattr"]
)
def test_a_pickle_that_names_functions_runs_nothing(tmp_path, kind):
    witness, file = tmp_path / "witness", tmp_path / "h.pkl"
    try:
        file.write_bytes(pickle.dumps(hostile(witness)[kind]))
    except (TypeError, pickle.PicklingError):  # modules are not picklable: name them by hand
        file.write_bytes(b"cos\nsystem\n(S'touch " + str(witness).encode() + b"'\ntR.")
    with pytest.raises(UsageError, match=r"h\.pkl is refused: it names"):
        read_table(file)
    assert not witness.exists()


def test_what_a_pickle_sets_does_not_outlive_it(tmp_path):
    """A BUILD opcode can set attributes of the class it named."""
    file = tmp_path / "b.pkl"
    file.write_bytes(b"\x80\x04cpandas\nDataFrame\n)\x81N}(X\x04\x00\x00\x00nameX\x01\x00\x00\x00xu\x86b.")
    node = read_pickle(file, {("pandas", "DataFrame")})
    assert node.state == (None, {"name": "x"})
    assert node.name == "DataFrame"


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"garbage", b"\x80\x04]\x94.", b"cpandas\nDataFrame\n.", pickle.dumps([1, 2])]
)
def test_what_is_no_table_is_named(tmp_path, content):
    file = tmp_path / "bad.pkl"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.pkl"):
        read_table(file)


def test_a_truncated_table_and_a_lying_shape(tmp_path):
    whole = pickle.dumps(pd.DataFrame({"x": np.arange(100.0)}), 4)
    for cut in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.pkl").write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=r"cut\.pkl"):
            read_table(tmp_path / "cut.pkl")
    lying = pickle.dumps(np.arange(3.0), 4).replace(b"K\x03\x85", b"M\xff\xff\x85", 1)
    (tmp_path / "lie.pkl").write_bytes(lying)
    with pytest.raises(Exception, match="another size"):
        as_array(read_pickle(tmp_path / "lie.pkl", ARRAYS))
