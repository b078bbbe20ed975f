"""What metrics return and how it is shown; two samples to measure a floor with; and the checks of arguments.

The older tests of `MetricResult` are beside those of `mode_coverage`.
"""

import copy
import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import metrics
from minigan.backend import checks
from minigan.metrics import MetricResult, table
from minigan.metrics.result import pair_of_real, short
from tests.strategies import seeds
from tests.strict_array import strict_xp

MANY = MetricResult(
    "precision_recall",
    0.5,
    100,
    floor=0.9,
    settings={"nearest_k": 3},
    details={
        "precision": 0.5,
        "recall": 0.25,
        "density": 2.0,
        "perfect": {"recall": 0.8, "precision": 0.9, "density": None},
        "spreads": {"recall": 0.01},
        "n_real": 7,
    },
)
ONE = MetricResult("kernel_distance", 0.125, 2500, 0.003, 0.0014)
BARE = MetricResult("kl", math.inf, None)


# ---- attributes ------------------------------------------------------------------------------------------------------


def test_details_are_attributes():
    assert MANY.recall == 0.25 and MANY.n_real == 7 and MANY.perfect["recall"] == 0.8
    assert MANY.value == 0.5 and MANY.name == "precision_recall"
    with pytest.raises(
        AttributeError, match=r"^MetricResult has no 'f1'; its details are precision, recall, density, "
    ):
        _ = MANY.f1
    with pytest.raises(AttributeError, match=r"^MetricResult has no 'recall'; its details are none$"):
        _ = ONE.recall
    assert not hasattr(MANY, "settings_") and getattr(ONE, "recall", None) is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        MANY.recall = 1.0


def test_fields_come_before_details():
    result = MetricResult("a", 1.0, 2, details={"value": 5.0, "n": 6, "rows": 7})
    assert result.value == 1.0 and result.n == 2 and result.rows() == [("a", 1.0, None, None)]


@pytest.mark.parametrize("result", [MANY, ONE, BARE], ids=lambda r: r.name)
def test_results_are_copied_stored_and_compared(result):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(result, protocol)) == result
    for other in (copy.copy(result), copy.deepcopy(result), dataclasses.replace(result)):
        assert other == result and other is not result and hash(other) == hash(result) and repr(other) == repr(result)
    assert copy.deepcopy(MANY).perfect is not MANY.perfect
    stored = json.loads(json.dumps(dataclasses.asdict(result)))
    assert stored["details"] == result.details and stored["n"] == result.n


def test_an_empty_result_is_no_endless_loop():
    """As copy and pickle make it, before there is a dictionary of details."""
    bare = object.__new__(MetricResult)
    with pytest.raises(AttributeError, match="has no 'recall'; its details are none"):
        _ = bare.recall


def test_every_metric_s_result_goes_into_a_json_file_and_a_table():
    x, y = np.random.default_rng(0).standard_normal((2, 40, 3))
    results = [
        metrics.inception_score(x, 4, y),
        metrics.kl([3, 1], [2, 2]),
        metrics.jensen_shannon([3, 1], [2, 2]),
        metrics.jensen_shannon([0.5, 0.5], [1.0, 0.0]),
        metrics.ndb(x, y, 5),
        metrics.c2st(x, y, "knn"),
        metrics.c2st(x, y, epochs=1),
        metrics.parzen_log_likelihood(x, y, [0.1, 0.5, 1, 2]),
        metrics.sliced_wasserstein(x, y),
        metrics.mode_coverage(x, [[0, 0, 0], [1, 1, 1]], 1.0),
    ]
    for result in results:
        stored = dataclasses.asdict(result)
        assert json.loads(json.dumps(stored))["value"] == result.value
        for name in result.details:
            assert getattr(result, name) == result.details[name]  # no detail hides behind a field or a method
        assert str(result).startswith(result.name)
    assert len(table(results).splitlines()) == 1 + 7 + 3 * 3  # of these ten, three have three numbers each


# ---- rows and tables -------------------------------------------------------------------------------------------------


def test_rows():
    assert ONE.rows() == [("kernel_distance", 0.125, 0.003, 0.0014)]
    assert BARE.rows() == [("kl", math.inf, None, None)]
    assert MANY.rows() == [  # in the order of what is perfect
        ("recall", 0.25, 0.01, 0.8),
        ("precision", 0.5, None, 0.9),
        ("density", 2.0, None, None),
    ]
    js = metrics.jensen_shannon([0.5, 0.5], [1.0, 0.0])
    assert [row[0] for row in js.rows()] == ["jensen_shannon", "quality", "coverage"]
    assert [row[1:] for row in js.rows()] == [
        (js.value, None, None),
        (js.quality, None, None),
        (js.coverage, None, None),
    ]


def test_a_table():
    expected = """\
                 value             perfect sampler  n
kernel distance  0.125    ± 0.003  0.0014           2500
kl               inf
recall           0.25     ± 0.01   0.8              100   nearest k 3
precision        0.5               0.9              100
density          2                                  100
fid              -123457           nan              5"""
    more = MetricResult("fid", -123456.7, 5, floor=math.nan)
    assert table([ONE, BARE, MANY, more]) == expected
    assert table(iter([ONE, BARE, MANY, more])) == expected


def test_what_results_have_in_common_stands_below():
    one = MetricResult("a", 1.0, 5, settings={"seen_by": "net", "k": 3, "n_real": 7}, details={"p_value": 0.25})
    other = MetricResult("b", 2.0, 5, settings={"seen_by": "net", "k": 4, "n_real": 7}, details={"p_value": 1e-30})
    head, a, b, below = table([one, other]).splitlines()
    assert a.endswith("5  p = 0.25, k 3") and b.endswith("5  p < 1e-9, k 4") and below == "all: seen by net"
    assert table(one) == table([one]) and table(one).splitlines()[1].endswith("5  p = 0.25, seen by net, k 3")


def test_the_columns_of_a_table_begin_one_below_the_other():
    lines = table([ONE, MANY, MetricResult("a_very_long_name_indeed", 1.0, 10**9, 12345678.0, 1e-12)]).splitlines()
    starts = [lines[0].index(head) for head in ("value", "perfect sampler", "n")]
    starts[2] = lines[0].rindex("n")
    for line in lines[1:]:
        for start in starts:
            assert line[start - 2 : start] == "  " and (start >= len(line) or line[start] != " " or start == starts[1])
    assert all(line == line.rstrip() for line in lines)


def test_a_table_of_nothing_is_its_head():
    assert table([]).split() == ["value", "perfect", "sampler", "n"]


@pytest.mark.parametrize(
    "result, line",
    [
        (BARE, "kl inf"),
        (MetricResult("kl", 0.5, None, floor=0.25), "kl 0.5 (floor 0.25)"),
        (MetricResult("kl", 0.5, None, 0.1, settings={"bins": 3}), "kl 0.5 ± 0.1 (bins 3)"),
        (
            MANY,
            "precision_recall: recall 0.25 (perfect 0.8), precision 0.5 (perfect 0.9), density 2, n=100, nearest k 3",
        ),
        (dataclasses.replace(MANY, summary="words"), "words"),
    ],
    ids=range(5),
)
def test_results_in_one_line(result, line):
    assert str(result) == repr(result) == line


def test_numbers_of_four_digits():
    numbers = {0.123456: "0.1235", 9999.4: "9999", 12345.6: "12346", -1e8: "-100000000", 1e9: "1e+09", 1e-7: "1e-07"}
    for x, text in (numbers | {0.0: "0", math.inf: "inf", -math.inf: "-inf", math.nan: "nan"}).items():
        assert short(x) == text


# ---- two samples of the data -----------------------------------------------------------------------------------------


@given(n=st.integers(2, 30), seed=seeds)
def test_random_halves(n, seed):
    real = np.arange(2.0 * n).reshape(n, 2)
    one, other = pair_of_real(real, "halves", seed)
    assert len(one) == n // 2 and len(other) == n - n // 2
    assert sorted(map(tuple, np.concatenate([one, other]))) == sorted(map(tuple, real))  # disjoint, and all
    again = pair_of_real(real, "halves", seed)
    assert np.array_equal(one, again[0]) and np.array_equal(other, again[1])


def test_the_halves_are_random():
    """Sorted data must not be cut in the middle: each point is as often in either half."""
    real, times = np.arange(20.0)[:, None], np.zeros(20)
    for seed in range(400):
        times[pair_of_real(real, "halves", seed)[0][:, 0].astype(int)] += 1
    assert times == pytest.approx(200, abs=4.5 * 10)


def test_further_samples_no_samples_and_too_few():
    real, others = np.zeros((5, 4)), np.ones((3, 2, 2), np.float32)
    one, other = pair_of_real(real, others, 0)
    assert one is real and other.shape == (3, 4) and other.dtype == np.float64
    assert pair_of_real(real, strict_xp.asarray(others), 0)[1].shape == (3, 4)
    assert pair_of_real(real, None, 0) is None and pair_of_real(real[:1], "halves", 0) is None
    for bad, message in [
        ("half", "floor: expected \"halves\", an array of further real samples, or None, got 'half'"),
        (np.zeros((5, 3)), "floor: expected points of 4 numbers, like real, got 3"),
        (3, r"floor: expected samples of shape \(n, …\), got a single number"),
        (np.full((5, 4), math.nan), "floor: expected finite numbers"),
        (True, "floor: expected an array of real numbers, got bool"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            pair_of_real(real, bad, 0)


# ---- checks of arguments ---------------------------------------------------------------------------------------------

INTEGERS = [3, np.int64(3), np.uint8(3), np.array(3)]
NO_INTEGERS = [2, True, False, np.True_, 3.0, np.float32(3), "3", b"3", None, [3], math.nan, math.inf, -(10**30)]
NUMBERS = [3, 3.0, np.float32(3), np.int8(3), np.array(3.0)]
NO_NUMBERS = [True, False, "3", None, [3], (3.0,), np.ones(1), math.nan, math.inf, -math.inf, -1, -1e-300, 3j, object()]


def test_integers():
    for good in INTEGERS:
        found = checks.integer("k", good, 3)
        assert found == 3 and type(found) is int
    for bad in NO_INTEGERS:
        with pytest.raises(ValueError, match=r"^k: expected an integer >= 3, got "):
            checks.integer("k", bad, 3)
    assert checks.integer("k", 10**30, 0) == 10**30


def test_real_numbers():
    for good in NUMBERS:
        found = checks.real("x", good, 3)
        assert found == 3 and type(found) is float
        assert checks.positive("x", good) == 3
    assert checks.real("x", 0) == checks.real("x", -0.0) == 0 and checks.real("x", -2, minimum=-2.0) == -2
    for bad in NO_NUMBERS:
        with pytest.raises(ValueError, match=r"^x: expected a finite number >= 0, got "):
            checks.real("x", bad)
        with pytest.raises(ValueError, match=r"^x: expected a finite number > 0, got "):
            checks.positive("x", bad)
    for bad in (0, 0.0, -0.0):
        with pytest.raises(ValueError, match=r"^x: expected a finite number > 0, got "):
            checks.positive("x", bad)
    with pytest.raises(ValueError, match=r"^x: expected a finite number > 2.5, got 2.5$"):
        checks.real("x", 2.5, 2.5, strict=True)


@pytest.mark.parametrize("bad", [np.True_, b"1.5", 10**400])
def test_what_else_is_no_real_number(bad):
    with pytest.raises(ValueError, match="^x: expected a finite number"):
        checks.real("x", bad)


def test_generators():
    rng = np.random.default_rng(5)
    assert checks.generator(rng) is rng
    assert checks.generator(5).random() == checks.generator(np.int64(5)).random() == np.random.default_rng(5).random()
    for bad in (None, -1, 1.5, True, "5", np.random.RandomState(0), np.random):
        with pytest.raises(ValueError, match=r"^rng: expected a numpy.random.Generator or an int seed >= 0, got "):
            checks.generator(bad)


def test_real_arrays():
    for dtype in ("float16", "float32", "int8", "uint64"):
        given_ = np.array([1, 2], dtype)
        assert checks.real_array("x", given_).dtype == np.float64
        assert checks.real_array("x", given_, None).dtype == dtype
        assert checks.real_array("x", given_, np.float32).dtype == np.float32
        assert checks.real_array("x", strict_xp.asarray(given_)).tolist() == [1, 2]
    same = np.ones(3)
    assert checks.real_array("x", same) is same and checks.real_array("x", [[1, 2]]).tolist() == [[1.0, 2.0]]
    assert checks.real_array("x", 3).shape == ()


@pytest.mark.parametrize(
    "bad, message",
    [
        (mg.tensor([1.0]), r"expected an array, got a Tensor: pass its \.numpy\(\)"),
        ([[1, 2], [3]], r"expected an array of real numbers, got list \(\[\[1, 2\], \[3\]\]\)"),
        (None, r"expected an array of real numbers, got NoneType \(None\)"),
        ("abc", r"expected an array of real numbers, got str \('abc'\)"),
        (np.array([True]), r"expected an array of real numbers, got ndarray \(dtype bool\)"),
        (np.array([1j]), r"expected an array of real numbers, got ndarray \(dtype complex128\)"),
        (np.array([1, "a"], object), r"expected an array of real numbers, got ndarray \(dtype object\)"),
        ([10**400], "expected an array of real numbers, got list"),
        (np.zeros((3, 0)), r"expected at least one number, got shape \(3, 0\)"),
        ([[0, 1], [math.nan, -math.inf]], r"expected finite numbers, got nan at \[1, 0\] \(2 such\)"),
        (math.inf, r"expected finite numbers, got inf at \[\] \(1 such\)"),
    ],
    ids=range(11),
)
def test_no_real_arrays(bad, message):
    for check in (checks.real_array, checks.points):
        with pytest.raises(ValueError, match=f"^x: {message}"):
            check("x", bad)


def test_what_overflows_in_the_wanted_dtype_is_shown_as_it_came():
    with pytest.raises(ValueError, match=r"^x: expected finite numbers, got 1e\+300 at \[1\] \(1 such\)"):
        checks.real_array("x", np.array([1, 1e300]), np.float32)


def test_points():
    images = np.arange(24.0).reshape(2, 3, 4, 1)
    assert np.array_equal(checks.points("x", images), images.reshape(2, 12))
    assert checks.points("x", [1, 2, 3]).tolist() == [[1], [2], [3]]
    assert checks.points("x", np.ones((2, 2), np.float32), None).dtype == np.float32
    with pytest.raises(ValueError, match=r"^x: expected samples of shape \(n, …\), got a single number"):
        checks.points("x", 3.0)


def test_points_of_one_dimension():
    checks.same_dimension(np.zeros((2, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"^y: expected points of 3 numbers, like x, got 4 \(the first axis counts"):
        checks.same_dimension(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"^fake: expected points of 3 numbers, like real, got 4"):
        checks.same_dimension(np.zeros((2, 3)), np.zeros((2, 4)), ("real", "fake"))


def test_results_are_put_where_the_arguments_are():
    here = checks.put(np.ones(3, np.float32), np.zeros(1))
    there = checks.put(np.ones(3, np.float32), strict_xp.asarray(np.zeros(1, np.float32)))
    assert type(here) is np.ndarray and type(there) is type(strict_xp.asarray(np.zeros(1)))
    assert here.dtype == there.dtype == np.float64


def test_a_callback_logs_every_number_of_a_result():
    """`games.Metrics` logs the value and, of several numbers, each."""
    from minigan.games import Bilinear, Metrics, Simultaneous, play
    from minigan.optim import SGD

    game = Bilinear(x=1.0, y=1.0)
    solver = Simultaneous({name: SGD(p, lr=0.1) for name, p in game.players.items()})
    columns = play(
        game, solver, 2, [Metrics({"pr": lambda g: MANY, "kl": lambda g: BARE, "x": lambda g: 3}, 2)]
    ).columns
    logged = {name: column[1] for name, column in columns.items() if name.startswith("metric/")}
    rows = {f"metric/pr/{name}": x for name, x, _, _ in MANY.rows()}
    assert logged == {"metric/pr": MANY.value, **rows, "metric/kl": math.inf, "metric/x": 3}
    for wrong in (None, "much", [1, 2]):
        with pytest.raises(
            TypeError, match=f"^metric/bad: expected a number, or a MetricResult, got {type(wrong).__name__}"
        ):
            play(game, solver, 1, [Metrics({"bad": lambda g, x=wrong: x}, 1)])


def test_a_result_in_a_format():
    assert f"{ONE:.2f}" == "0.12" and f"{ONE:g}" == "0.125" and f"{ONE}" == str(ONE)
