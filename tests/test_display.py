"""Tables as text, character by character; and what notebooks show: well-formed, escaped, and with the right numbers."""

import html
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import metrics, nn, transport
from minigan.backend.random import stream
from minigan.display import heat_map, html_table, html_tree, tensor_html, text_table
from minigan.metrics import MetricResult
from minigan.transport import Certificate, CriticGap, OptimalTransport, Sinkhorn

NASTY = """<b>"x" & 'y'</b>\0\x1b<script>"""
SHOWN = """<b>"x" & 'y'</b>\ufffd\ufffd<script>"""  # two characters that no XML may hold


def parsed(fragment):
    """The fragment's element tree. Every fragment of this file comes through here: it is well-formed XML, and it has
    no script, loads nothing, and paints in the theme's colours only.
    """
    root = ET.fromstring(fragment)
    known = "div span b code table thead tbody tr th td details summary svg path rect".split()
    for element in root.iter():
        assert element.tag in known
        assert not {"src", "href", "class", "id"} & set(element.attrib)
        assert element.attrib.get("fill", "none") in ("none", "currentColor")
        style = element.attrib.get("style", "")
        assert "url" not in style and "#" not in style and "rgb" not in style
        assert re.findall(r"(?:background|color):(\w+)", style) in ([], ["none", "inherit"])
    return root


def text(root):
    """All its text, in order."""
    return "".join(root.itertext())


def tables(root):
    """[[cells of a row]] of every table."""
    return [["".join(c.itertext()) for c in row] for table in root.iter("table") for row in table.iter("tr")]


# ---- text ------------------------------------------------------------------------------------------------------------


def test_columns_are_aligned():
    rows = [("name", "n", "note"), ("a", 1, ""), ("bcdefg", 1234, "ε → 0")]
    assert text_table(rows) == "name    n     note\na       1\nbcdefg  1234  ε → 0"
    assert text_table(rows, right=[1]) == "name       n  note\na          1\nbcdefg  1234  ε → 0"
    assert text_table(rows, right=(0, -1)) == "  name  n      note\n     a  1\nbcdefg  1234  ε → 0"
    assert text_table(iter(rows)) == text_table([map(str, row) for row in rows]) == text_table(rows)


def test_dashes_are_as_long_as_the_longest_line():
    rows = [("a", "b"), ("longer", ""), ("x", "y")]
    ruled = "a       b\n---------\nlonger\n---------\nx       y"
    assert text_table(rows, rule=(1, -1)) == text_table(rows, rule=[2, 1]) == ruled
    assert text_table([("a", ""), ("long", "")], rule=[1]) == "a\n----\nlong"  # no line is longer than its text
    assert text_table(rows, rule=[0]).splitlines()[0] == "-" * 9


def test_small_tables():
    assert text_table([]) == "" and text_table([("a", "b")]) == "a  b" and text_table([("",)]) == ""


def test_ragged_rows_are_refused():
    for table in (text_table, html_table):
        with pytest.raises(ValueError, match=r"^rows: expected equally many cells in each, got 1 and 2$"):
            table([("a", "b"), ("c",)])
    with pytest.raises(ValueError, match=r"^rows: expected equally many cells in each, got 2 and 3$"):
        html_table([("a", "b")], head=("x", "y", "z"))


words = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=5)


@given(data=st.data())
def test_every_cell_is_found_where_its_column_is(data):
    n, m = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(words, min_size=m, max_size=m), min_size=n, max_size=n))
    right = data.draw(st.sets(st.integers(0, m - 1)))
    lines, start = text_table(rows, right).split("\n"), 0
    for j in range(m):
        width = max(len(row[j]) for row in rows)
        cells = [line[start : start + width] for line in lines]
        assert [cell.strip() for cell in cells] == [row[j] for row in rows]
        assert all(not (cell[:1] if j not in right else cell.ljust(width)[-1:]).isspace() for cell in cells)
        assert all(line[start + width : start + width + 2].strip() == "" for line in lines)
        start += width + 2


def test_module_summary_is_printed_as_ever():
    layers = nn.Conv(1, 32, 3, stride=2, padding=1), nn.Sequential(nn.BatchNorm(32)), nn.Flatten()
    net = nn.Sequential(*layers, nn.SpectralNorm(nn.Dense(128, 10)), name="D")
    expected = """\
layer                     type       output shape   parameters
--------------------------------------------------------------
D.conv1                   Conv       (5, 2, 2, 32)         320
D.sequential1.batchnorm1  BatchNorm  (5, 2, 2, 32)          64
D.flatten1                Flatten    (5, 128)                0
D.spectralnorm1.layer     Dense      (5, 10)             1,290
--------------------------------------------------------------
total                                                    1,674"""
    assert net.summary(np.zeros((5, 4, 4, 1), np.float32)) == expected
    expected = """\
layer  type  output shape  parameters
-------------------------------------
a      ReLU  (2, 3)                 0
-------------------------------------
total                               0"""
    assert nn.ReLU().named("a").summary(np.zeros((2, 3), np.float32)) == expected


RESULTS = [
    MetricResult("kernel_distance", 0.125, 2500, 0.003, 0.0014, {"k": 3, "biased": False}),
    MetricResult("kl", math.inf, None, settings={"k": 3, "biased": True}),
    MetricResult(
        "precision_recall",
        0.5,
        100,
        settings={"k": 3, "biased": False},
        details={
            "precision": 0.5,
            "recall": 0.25,
            "perfect": {"recall": 0.8, "precision": None},
            "spreads": {"recall": 0.01},
            "p_value": 0.04,
        },
    ),
]


def test_metrics_are_printed_as_ever():
    expected = """\
                 value           perfect sampler  n
kernel distance  0.125  ± 0.003  0.0014           2500  not biased
kl               inf                                    biased
recall           0.25   ± 0.01   0.8              100   p = 0.04, not biased
precision        0.5                              100
all: k 3"""
    assert metrics.table(RESULTS) == expected and type(metrics.table(RESULTS)) is str
    assert metrics.table([]) == "  value    perfect sampler  n"


# ---- HTML ------------------------------------------------------------------------------------------------------------


@given(name=st.text(max_size=20))
def test_any_text_is_escaped_and_comes_back(name):
    shown = re.sub(r"\r\n?", "\n", name)  # XML has one kind of line end
    shown = "".join(c if c in "\t\n" or c >= " " and not 0xD800 <= ord(c) < 0xE000 else "\ufffd" for c in shown)
    shown = re.sub("[\ufffe\uffff]", "\ufffd", shown)
    root = parsed(html_table([(name, 1)], head=("", name), title="t" + name, note="n" + name))
    assert tables(root) == [["", shown], [shown, "1"]]
    assert text(root) == f"t{shown}{shown}{shown}1n{shown}"
    assert text(parsed(html_tree(name, "", [name]))) == f"{shown}  {shown}"


def test_markup_in_every_place_is_only_text():
    inner = html_tree(NASTY, NASTY, [NASTY])
    for fragment in (
        html_table([(NASTY, 1)], (NASTY, 2), [0], NASTY, NASTY),
        html_tree(NASTY, NASTY, [NASTY, NASTY], [inner], opened=True),
        heat_map(np.eye(2), NASTY),
        heat_map(np.eye(99), NASTY),
        tensor_html(mg.tensor([1.0], name=NASTY)),
        nn.Sequential(nn.ReLU(), name=NASTY)._repr_html_(),
        MetricResult(NASTY, 1.0, 2, settings={NASTY: NASTY})._repr_html_(),
    ):
        assert "<script" not in fragment and "<b>&quot;" not in fragment
        root = parsed(fragment)
        assert SHOWN in text(root).replace("&lt;", "<")
        assert html.escape(SHOWN) in fragment


def test_columns_and_lines_of_a_table():
    root = parsed(html_table([("a", 1), ("b", 22)], ("name", "n"), right=[-1], title="T", note="N"))
    assert tables(root) == [["name", "n"], ["a", "1"], ["b", "22"]]
    assert [cell.tag for cell in root.iter() if cell.tag in ("th", "td")] == ["th"] * 2 + ["td"] * 4
    sides = [re.search("text-align:(left|right)", cell.attrib["style"])[1] for cell in root.iter("td")]
    assert sides == ["left", "right"] * 2
    assert text(root)[0] == "T" and text(root)[-1] == "N"
    bare = parsed(html_table([("a",)]))
    assert text(bare) == "a" and list(bare.iter("thead")) == []
    assert tables(parsed(html_table([]))) == [] and tables(parsed(html_table([], ("x",)))) == [["x"]]


def test_a_tree_is_opened_where_asked():
    leaf = html_tree("leaf", "L")
    root = parsed(html_tree("root", "R", ["1", "2"], [html_tree("inner", "I", (), [leaf]), leaf], opened=True))
    assert root.tag == "details" and [d.attrib for d in root.iter("details")] == [{"open": "open"}, {}]
    assert ["".join(s.itertext()).strip() for s in root.iter("summary")] == ["root R 1 · 2", "inner I"]
    assert parsed(leaf).tag == "div"


def squares(root):
    """{(i, j): opacity} of a heat map."""
    return {
        (int(i), int(j)): float(path.attrib["opacity"])
        for path in root.iter("path")
        for j, i in re.findall(r"M(\d+) (\d+)h1v1h-1z", path.attrib["d"])
    }


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 40), (40, 1)])
def test_a_heat_map_s_squares_are_the_entries(shape):
    matrix = stream(0, "heat map").random(shape) ** 3
    root = parsed(heat_map(matrix, "P"))
    found = squares(root)
    for (i, j), x in np.ndenumerate(matrix / matrix.max()):
        assert found.get((i, j), 0.0) == pytest.approx(x, abs=0.0251)
    assert max(found.values()) == 1 and text(root) == f"P, {shape[0]} × {shape[1]}; full colour: {matrix.max():.4g}"
    (svg,) = root.iter("svg")
    assert svg.attrib["viewBox"] == f"0 0 {shape[1]} {shape[0]}"
    assert float(svg.attrib["width"]) * shape[0] == pytest.approx(float(svg.attrib["height"]) * shape[1])


def test_heat_maps_of_unusual_matrices():
    assert squares(parsed(heat_map(np.array([[2.0, -1, np.nan], [np.inf, 1, 0.01]]), "P"))) == {(0, 0): 1, (1, 1): 0.5}
    tiny = np.array([[5e-324, 0.0]])
    assert squares(parsed(heat_map(tiny, "P"))) == {(0, 0): 1}
    for blank in (np.zeros((2, 3)), np.full((2, 3), np.nan), -np.ones((2, 3))):
        assert squares(parsed(heat_map(blank, "P"))) == {}
    for shape in [(41, 2), (2, 41), (0, 3)]:
        root = parsed(heat_map(np.ones(shape), "P"))
        assert list(root.iter("svg")) == [] and text(root) == f"P, {shape[0]} × {shape[1]}"


# ---- Tensors ---------------------------------------------------------------------------------------------------------


def tensor_parts(t):
    """(the line that says what it is, {statistic: str}, the values' rows, the whole text)."""
    root = parsed(tensor_html(t))
    rows = tables(root)
    return "".join(root[0].itertext()), dict(zip(*rows[:2])), rows[2:], text(root)


def test_a_tensor_in_full():
    w = mg.tensor([[1.0, -2.0, 0.0], [0.12345678, 3e-9, 12345678.0]], requires_grad=True, name="D.weight")
    w.grad = mg.tensor([[3.0, 0, 0], [0, 4, 0]])
    head, numbers, values, _ = tensor_parts(w)
    assert head == "D.weight shape (2, 3) · 6 values · float32 · cpu · leaf, requires a gradient"
    assert numbers == {
        "min": "-2",
        "max": "1.235e+07",
        "mean": "2.058e+06",
        "zeros": "16.7 %",
        "not finite": "0",
        "‖gradient‖": "5",
    }
    assert values == [["1", "-2", "0"], ["0.1235", "3e-09", "1.235e+07"]]


def test_who_made_a_tensor():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    net = nn.Sequential(nn.Dense(2, 1), name="D")
    assert tensor_parts(mg.tensor([1.0]))[0].endswith("float32 · cpu · constant")
    assert tensor_parts(x.detach())[0].endswith("constant")
    assert tensor_parts(mg.tanh(x))[0].endswith("cpu · made by tanh")
    y = net(mg.reshape(x, 1, 2))
    assert tensor_parts(y)[0].endswith("made by linear in D.dense1")
    (slope,) = mg.grad(mg.sum(mg.tanh(x)), x, create_graph=True)
    assert re.search(r"made by \w+, a derivative of tanh$", tensor_parts(slope)[0])
    (nothing,) = mg.grad(mg.sum(3 * x), x, create_graph=True)
    assert "leaf" not in tensor_parts(nothing)[0]
    assert tensor_parts(y)[1]["‖gradient‖"] == tensor_parts(x)[1]["‖gradient‖"] == "none"
    mg.sum(x * x).backward()
    assert tensor_parts(x)[1]["‖gradient‖"] == f"{math.sqrt(20):.4g}"


def test_a_number_and_nothing():
    head, numbers, values, _ = tensor_parts(mg.tensor(0.5))
    assert head == "tensor shape () · 1 value · float32 · cpu · constant" and values == [["0.5"]]
    assert (numbers["min"], numbers["max"], numbers["mean"], numbers["zeros"]) == ("0.5", "0.5", "0.5", "0 %")
    for shape in [(0,), (3, 0), (0, 2, 2)]:
        head, numbers, values, everything = tensor_parts(mg.tensor(np.zeros(shape), requires_grad=True))
        assert head == everything == f"tensor shape {shape} · 0 values · float64 · cpu · leaf, requires a gradient"
        assert numbers == {} and values == []


def test_bools_and_integers():
    head, numbers, values, _ = tensor_parts(mg.tensor([True, False, True, True]))
    assert "· bool ·" in head and values == [["True", "False", "True", "True"]]
    assert list(numbers.values()) == ["False", "True", "0.75", "25 %", "0", "none"]
    large = np.array([[2**53 + 1, -7]])
    head, numbers, values, _ = tensor_parts(mg.tensor(large))
    assert "· int64 ·" in head and values == [["9007199254740993", "-7"]]  # every digit
    assert numbers["min"] == "-7" and numbers["max"] == "9007199254740993"
    assert tensor_parts(mg.tensor(np.array([200, 100], np.uint8)))[1]["mean"] == "150"


def test_what_is_not_finite_is_counted_and_left_out():
    x = mg.tensor([[np.nan, 1.0], [-np.inf, 0.0], [4.0, np.inf]])
    x.grad = mg.tensor([[np.nan, 1.0], [0, 0], [0, 0]])
    _, numbers, values, everything = tensor_parts(x)
    assert values == [["nan", "1"], ["-inf", "0"], ["4", "inf"]]
    assert list(numbers.values()) == ["0", "4", "1.667", "16.7 %", "3", "nan"]
    assert "min, max and mean are those of the finite values" in everything
    _, numbers, values, everything = tensor_parts(mg.tensor([np.nan, np.inf]))
    assert numbers == {"zeros": "0 %", "not finite": "2", "‖gradient‖": "none"} and values == [["nan", "inf"]]
    assert "finite values" not in everything
    huge = mg.tensor(np.full(3, 1e308))
    huge.grad = huge.detach()
    with np.errstate(all="raise"):
        assert tensor_parts(huge)[1]["‖gradient‖"] == "inf"
        cancelling = mg.tensor(np.array([1e8, 1, -1e8, 1], np.float32))
        assert tensor_parts(cancelling)[1]["mean"] == "0.5"  # summed in float64


@pytest.mark.parametrize("shape", [(8,), (9,), (8, 8), (9, 8), (8, 9), (30, 20), (1, 9), (9, 1)])
def test_the_corner_of_a_large_tensor(shape):
    array = np.arange(math.prod(shape)).reshape(shape)
    _, _, values, _ = tensor_parts(mg.tensor(array))
    plane = np.atleast_2d(array)
    expected = [[str(x) for x in row[:8]] + ["…"] * (plane.shape[1] > 8) for row in plane[:8]]
    expected += [["…"] * len(expected[0])] * (len(plane) > 8)
    assert values == expected


@pytest.mark.parametrize(
    "shape, key",
    [
        ((2, 3, 4, 5), "[0, 0, :, :]"),
        ((2, 3, 4, 1), "[0, :, :, 0]"),  # a grey image, not its first column
        ((3, 3, 1, 2), "[0, :, 0, :]"),
        ((2, 1, 1), "[:, 0, 0]"),
        ((1, 1, 1), "[0, 0, 0]"),
    ],
)
def test_a_plane_of_more_than_two_axes(shape, key):
    array = np.arange(math.prod(shape)).reshape(shape)
    _, _, values, everything = tensor_parts(mg.tensor(array))
    index = tuple(slice(None) if part == ":" else 0 for part in key[1:-1].split(", "))
    assert key in everything and values == [[str(x) for x in row] for row in np.atleast_2d(array[index])]


def test_a_tensor_on_a_device_that_refuses_to_be_an_array():
    from tests.strict_array import StrictArray

    here = mg.tensor([[1.0, np.nan], [0.0, 3.0]], requires_grad=True)
    there = mg.tensor(here, requires_grad=True, device="strict")
    assert type(there.data) is StrictArray
    here.grad, there.grad = mg.tensor([3.0, 4.0]), mg.tensor([3.0, 4.0], device="strict")
    assert tensor_html(there) == tensor_html(here).replace("· cpu ·", "· strict ·")


# ---- modules ---------------------------------------------------------------------------------------------------------


def lines_of(module):
    """Every line of a module's tree, stripped."""
    root = parsed(module._repr_html_())
    return ["".join(e.itertext()).strip() for e in root.iter() if e.tag == "summary" or e.find("b") is not None]


def test_the_tree_of_a_module():
    body = nn.Sequential(nn.Conv(1, 4, 3, bias=False), nn.LeakyReLU(0.2))
    net = nn.Sequential(body, nn.Flatten(), nn.SpectralNorm(nn.Dense(6, 3)), nn.Sequential(), name="D")
    net.sequential1.eval()
    conv = "Conv(1, 4, kernel_size=(3, 3), stride=(1, 1), padding=(0, 0))"
    assert lines_of(net) == [
        "D Sequential 57 parameters in total · training",
        "sequential1 Sequential 36 parameters in total · evaluation",
        f"conv1 {conv} weight (3, 3, 1, 4) · 36 parameters · evaluation",
        "leakyrelu1 LeakyReLU(0.2) evaluation",
        "flatten1 Flatten() training",
        "spectralnorm1 SpectralNorm 21 parameters in total · training",
        "layer Dense(6, 3) weight (6, 3) · bias (3,) · 21 parameters · training",
        "sequential2 Sequential() training",
    ]
    details = list(parsed(net._repr_html_()).iter("details"))
    assert [d.attrib.get("open") for d in details] == ["open", None, None]


def test_modules_without_children_or_with_parameters_of_their_own():
    assert lines_of(nn.Module()) == ["Module Module() training"]
    assert lines_of(nn.Tanh().named("act").eval()) == ["act Tanh() evaluation"]

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.again = nn.Dense(2, 1000), nn.Dense(2, 1000)
            self.again.weight = self.inner.weight  # counted once
            self.scale = mg.tensor(1.0, requires_grad=True)

        def extra(self):
            return "<2>"

    assert lines_of(Scaled()) == [
        "Scaled Scaled(<2>) scale () · 4,001 parameters in total · training",
        "inner Dense(2, 1000) weight (2, 1000) · bias (1000,) · 3,000 parameters · training",
        "again Dense(2, 1000) weight (2, 1000) · bias (1000,) · 3,000 parameters · training",
    ]
    assert "1 parameter ·" in lines_of(nn.Dense(1, 1, bias=False))[0]


# ---- results ---------------------------------------------------------------------------------------------------------


def test_a_metric_s_result():
    one, bare, many = (parsed(r._repr_html_()) for r in RESULTS)
    head = ["", "value", "±", "perfect sampler"]
    assert tables(one) == [head, ["kernel distance", "0.125", "0.003", "0.0014"]]
    assert text(one).startswith("kernel_distance") and text(one).endswith("n 2500, k 3, not biased")
    assert tables(bare) == [head, ["kl", "inf", "", ""]] and text(bare).endswith("k 3, biased")
    assert tables(many) == [head, ["recall", "0.25", "0.01", "0.8"], ["precision", "0.5", "", ""]]
    assert text(many).startswith("precision_recallvalue") and text(many).endswith("n 100, p = 0.04, k 3, not biased")
    apart = MetricResult("f", 7.0, None, details={"a": 1.0, "perfect": {"a": 2.0}})._repr_html_()
    assert text(parsed(apart)) == "f 7value±perfect samplera12"  # a value that is not among its numbers
    covered = metrics.mode_coverage(np.zeros((5, 2)), [[0.0, 0], [9, 9]], 1.0)
    assert [row[0] for row in tables(parsed(covered._repr_html_()))[1:]] == [
        name.replace("_", " ") for name, *_ in covered.rows()
    ]


NAMES = "row_sums column_sums negative infeasible slack gap".split()
CERTIFICATE = Certificate(
    *(10.0**-i for i in range(12, 18)), {name: 3 * 10.0**-i for name, i in zip(NAMES, range(8, 14))}
)
EXACT = OptimalTransport(1 / 3, 0.25, np.eye(2) / 2, np.zeros(2), np.zeros(2), CERTIFICATE, "HiGHS")
GAP = CriticGap(2.0, 3.0, 4.0, 0.75, 0.5, 1.25, (4, 5))
ENTROPIC = Sinkhorn(0.5, 1 / 3, np.array([[2.0, 1.0]]), None, None, 0.25, 0.75, 0.01, 7, 1e-5, False)

PRINTED = [
    (
        CERTIFICATE,
        """\
  certificate                             residual   relative
  row sums      |Σⱼ Pᵢⱼ − aᵢ|              1.0e-12    3.0e-08
  column sums   |Σᵢ Pᵢⱼ − bⱼ|              1.0e-13    3.0e-09
  plan          −Pᵢⱼ                       1.0e-14    3.0e-10
  feasibility   uᵢ + vⱼ − Cᵢⱼ              1.0e-15    3.0e-11
  slackness     Σ Pᵢⱼ |Cᵢⱼ − uᵢ − vⱼ|      1.0e-16    3.0e-12
  duality gap   primal − dual              1.0e-17    3.0e-13""",
    ),
    (
        EXACT,
        f"""\
optimal transport of 2 onto 2 atoms, by HiGHS
  primal  ⟨C, P⟩                0.3333333333333333
  dual    ⟨u, a⟩ + ⟨v, b⟩                     0.25
{CERTIFICATE}
  the certificate DOES NOT HOLD to 1e-9 (relative)""",
    ),
    (
        ENTROPIC,
        """\
sinkhorn of 1 onto 2 atoms, ε = 0.01: NOT converged after 7 iterations (error 1.0e-05)
  OT_ε 0.5, cost of its plan 0.3333333333 (so far)
  exact cost between 0.25 and 0.75""",
    ),
    (
        GAP,
        """\
critic against exact transport, 4 real and 5 generated samples
  exact W₁ between them                        2
  the critic's estimate                        3
  its empirical Lipschitz constant L           4
  lower bound estimate / L                  0.75   38% of the exact
  cosine of ∇f and ∇f* on the rays         0.500
  mean ||∇f| − 1| on the rays               1.25""",
    ),
    (
        CriticGap(0.0, -3.0, 4.0, -0.75, -0.5, 1.25e-7, (4, 5)),
        """\
critic against exact transport, 4 real and 5 generated samples
  exact W₁ between them                        0
  the critic's estimate                       -3
  its empirical Lipschitz constant L           4
  lower bound estimate / L                 -0.75 (negative: the critic has it the wrong way round)
  cosine of ∇f and ∇f* on the rays        -0.500
  mean ||∇f| − 1| on the rays           1.25e-07""",
    ),
]


@pytest.mark.parametrize("result, expected", PRINTED, ids=lambda x: type(x).__name__)
def test_transport_is_printed_as_ever(result, expected):
    assert str(result) == expected


def test_optimal_transport_has_both_problems_the_certificate_and_the_plan():
    assert repr(EXACT) == "OptimalTransport(cost=0.3333333333, gap=1.0e-17, 2 x 2, by HiGHS)"
    root = parsed(EXACT._repr_html_())
    rows = tables(root)
    assert rows[:2] == [["primal", "⟨C, P⟩", "0.3333333333333333"], ["dual", "⟨u, a⟩ + ⟨v, b⟩", "0.25"]]
    assert rows[2:] == tables(parsed(CERTIFICATE._repr_html_()))
    assert rows[2] == ["certificate", "", "residual", "relative"] and len(rows) == 9
    assert rows[-1] == ["duality gap", "primal − dual", "1.0e-17", "3.0e-13"]
    assert squares(root) == {(0, 0): 1, (1, 1): 1}
    real = parsed(transport.emd(None, None, [[0.0, 1.0], [1.0, 0.0]])._repr_html_())
    assert "the certificate holds to 1e-9" in text(real) and squares(real) == {(0, 0): 1, (1, 1): 1}
    large = parsed(transport.emd(None, None, np.ones((50, 50)))._repr_html_())
    assert "plan P, 50 × 50" in text(large) and list(large.iter("svg")) == []


def test_sinkhorn_s_and_the_critic_s_numbers():
    root = parsed(ENTROPIC._repr_html_())
    assert [row[1] for row in tables(root)] == ["0.5", "0.3333333333", "0.25", "0.75", "1.0e-05"]
    assert "NOT converged after 7 iterations" in text(root) and squares(root) == {(0, 0): 1, (0, 1): 0.5}
    assert "converged after" in text(parsed(transport.sinkhorn(None, None, [[0.0, 1.0]], 1.0)._repr_html_()))
    rows = tables(parsed(GAP._repr_html_()))
    assert [row[1] for row in rows] == ["2", "3", "4", "0.75", "0.500", "1.25"]
    assert rows[3] == ["lower bound estimate / L", "0.75", "   38% of the exact"]
    assert all(row[0] in str(GAP) for row in rows)


def test_plans_on_a_device_are_shown_as_well():
    from tests.strict_array import strict_xp

    cost = np.array([[0.0, 1.0], [2.0, 0.0]])
    for solve in (lambda c: transport.emd(None, None, c), lambda c: transport.sinkhorn(None, None, c, 0.5)):
        here, there = solve(cost)._repr_html_(), solve(strict_xp.asarray(cost))._repr_html_()
        assert squares(parsed(here)) == squares(parsed(there)) != {}
