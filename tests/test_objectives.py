"""Objectives: the formulas, what they are worth at the optimal discriminator, and that nothing overflows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import optimize
from scipy.special import expit, log_expit, rel_entr
from scipy.stats import wasserstein_distance

import minigan as mg
from minigan import nn, objectives
from minigan.data import Batches
from minigan.errors import ShapeError
from minigan.games import GAN, Alternating
from minigan.objectives import (
    BEGAN,
    EBGAN,
    FGAN,
    Minimax,
    NonSaturating,
    Objective,
    OneSidedLabelSmoothing,
    RelativisticAverage,
    RelativisticPairing,
    get,
)
from minigan.objectives.f_gan import DIVERGENCES
from minigan.optim import SGD
from tests.strategies import examples, seeds

NAMES = ("minimax", "non_saturating")
logits = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=6).map(lambda some: np.array(some, np.float64))


def log_sigmoid(x):
    return np.log(1 / (1 + np.exp(-x)))


FORMULAS = {  # by σ, as the papers write them: (the discriminator's loss, the generator's)
    "minimax": (
        lambda real, fake: -np.mean(log_sigmoid(real)) - np.mean(log_sigmoid(-fake)),
        lambda fake: np.mean(log_sigmoid(-fake)),
    ),
    "non_saturating": (
        lambda real, fake: -np.mean(log_sigmoid(real)) - np.mean(log_sigmoid(-fake)),
        lambda fake: -np.mean(log_sigmoid(fake)),
    ),
}


@pytest.mark.parametrize("name", NAMES)
@examples(2)
@given(real=logits, fake=logits)
def test_losses_are_their_formulas(name, real, fake):
    objective, (discriminator, generator) = get(name), FORMULAS[name]
    real_logits, fake_logits = (mg.tensor(a, dtype="float64") for a in (real, fake))
    assert_allclose(objective.discriminator_loss(real_logits, fake_logits).item(), discriminator(real, fake))
    assert_allclose(objective.generator_loss(fake_logits).item(), generator(fake))


@pytest.mark.parametrize("shape", [(1,), (5,), (4, 1), (2, 3, 3, 1)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_losses_are_scalars_of_the_logits_dtype_whatever_the_shape(name, shape):
    for dtype in ("float32", "float64"):
        real, fake = (mg.tensor(np.full(shape, v), dtype=dtype) for v in (0.5, -2.0))
        d, g = get(name).discriminator_loss(real, fake), get(name).generator_loss(fake, real)
        discriminator, generator = FORMULAS[name]
        for loss, expected in ((d, discriminator(0.5, -2.0)), (g, generator(-2.0))):
            assert loss.shape == () and loss.dtype == dtype
            assert_allclose(loss.item(), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
@pytest.mark.parametrize("name", NAMES)
def test_far_logits_give_finite_losses_and_bounded_gradients(name, size, dtype):
    objective = get(name)
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        real, fake = (mg.tensor([s * size], requires_grad=True, dtype=dtype) for s in signs)
        for loss, inputs in (
            (objective.discriminator_loss(real, fake), (real, fake)),
            (objective.generator_loss(fake, real), (fake,)),
        ):
            assert abs(loss.item()) <= 2 * size + 2 * np.log(2) + 1e-6
            first = mg.grad(loss, inputs, create_graph=True)
            second = mg.grad(mg.sum(mg.concatenate(first)), inputs)
            assert all(abs(g.item()) <= 1 for g in first) and all(0.25 >= abs(h.item()) >= 0 for h in second)


def test_a_sure_discriminator_silences_the_minimax_generator_only():
    fake = mg.tensor([-30.0], requires_grad=True, dtype="float64")
    slopes = [mg.grad(get(name).generator_loss(fake), fake)[0].item() for name in NAMES]
    assert abs(slopes[0]) < 1e-12
    assert_allclose(slopes[1], -1)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives(name):
    rng = np.random.default_rng(0)
    real, fake = 3 * rng.standard_normal((5, 1)), 3 * rng.standard_normal((4, 1))
    mg.check_grad(get(name).discriminator_loss, real, fake, order=2)
    mg.check_grad(lambda f: get(name).generator_loss(f), fake, order=2)


# ---- at the optimal discriminator ------------------------------------------------------------------------------------


def kl(p, q):
    return np.sum(p * np.log(p / q))


def js(p, q):
    return (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2


@st.composite
def two_distributions(draw):
    """Two samples of equal size over the same few atoms, each atom in both: (atoms seen, p, q) twice over."""
    atoms = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(seeds))
    seen = [np.repeat(np.arange(atoms), rng.integers(1, 30, atoms)) for _ in range(2)]
    return seen, [np.bincount(ids) / ids.size for ids in seen]


@examples(2)
@given(drawn=two_distributions())
def test_values_at_the_optimal_discriminator(drawn):
    (real_ids, fake_ids), (p, q) = drawn
    best = mg.tensor(np.log(p / q), requires_grad=True, dtype="float64")  # D* as a table: one logit per atom
    real, fake = mg.take(best, real_ids), mg.take(best, fake_ids)
    saturating, heuristic = get("minimax"), get("non_saturating")
    loss = saturating.discriminator_loss(real, fake)
    assert_allclose(
        mg.grad(loss, best, retain_graph=True)[0].data, 0, atol=1e-14
    )  # an optimum it is (of a convex loss)
    assert_allclose(-loss.item(), 2 * js(p, q) - 2 * np.log(2), atol=1e-12)
    assert loss.item() == heuristic.discriminator_loss(real, fake).item()
    total = saturating.generator_loss(fake).item() + heuristic.generator_loss(fake).item()
    assert_allclose(total, kl(q, p), atol=1e-12)
    assert_allclose(heuristic.generator_loss(fake).item(), np.sum(q * np.log(1 + q / p)), atol=1e-12)


def test_values_at_equilibrium():
    zero = mg.tensor(np.zeros(3), dtype="float64")
    for name, generator in (("minimax", -np.log(2)), ("non_saturating", np.log(2))):
        assert_allclose(get(name).discriminator_loss(zero, zero).item(), 2 * np.log(2))
        assert_allclose(get(name).generator_loss(zero).item(), generator)


@pytest.mark.parametrize("name", NAMES)
def test_zero_sum_is_what_it_says(name):
    """By the fake logits, which alone depend on the generator, the two losses' gradients cancel, or do not."""
    fake = mg.tensor([0.3, -1.0], requires_grad=True, dtype="float64")
    objective = get(name)
    (total,) = mg.grad(objective.discriminator_loss(fake.detach(), fake) + objective.generator_loss(fake), fake)
    assert objective.zero_sum == np.allclose(total.data, 0, atol=1e-15)


# ---- the formulas of all, in NumPy as the papers write them ----------------------------------------------------------

NUMPY_F = {  # (g_f, f*): table 6 of Nowozin et al., with v for −v where the activation there falls with p/q
    "kl": (lambda v: v, lambda t: np.exp(t - 1)),
    "reverse_kl": (lambda v: -np.exp(-v), lambda t: -1 - np.log(-t)),
    "jensen_shannon": (lambda v: np.log(2) - np.log(1 + np.exp(-v)), lambda t: -np.log(2 - np.exp(t))),
    "pearson": (lambda v: v, lambda t: t**2 / 4 + t),
    "squared_hellinger": (lambda v: 1 - np.exp(-v), lambda t: t / (1 - t)),
}


def relu(x):
    return np.maximum(x, 0)


def f_gan_formulas(name, saturating):
    g, conjugate = NUMPY_F[name]
    return (
        lambda real, fake: -np.mean(g(real)) + np.mean(conjugate(g(fake))),
        lambda fake, real: -np.mean(conjugate(g(fake))) if saturating else -np.mean(g(fake)),
    )


def at_k(began, k):
    began.load_state_dict({"k": np.array(k)})
    return began


def average_relativistic(real, fake, sign):
    r, f = sign * (real - np.mean(fake)), sign * (fake - np.mean(real))
    return -np.mean(log_expit(r)) - np.mean(log_expit(-f))


ALL = {  # id: (the objective, its D loss (real, fake), its G loss (fake, real))
    "least_squares": (
        get("least_squares"),
        lambda real, fake: np.mean((real - 1) ** 2) / 2 + np.mean(fake**2) / 2,
        lambda fake, real: np.mean((fake - 1) ** 2) / 2,
    ),
    "wasserstein": (
        get("wasserstein"),
        lambda real, fake: np.mean(fake) - np.mean(real),
        lambda fake, real: -np.mean(fake),
    ),
    "hinge": (
        get("hinge"),
        lambda real, fake: np.mean(relu(1 - real)) + np.mean(relu(1 + fake)),
        lambda fake, real: -np.mean(fake),
    ),
    "relativistic": (
        get("relativistic"),
        lambda real, fake: -np.mean(log_expit(real - fake)),
        lambda fake, real: -np.mean(log_expit(fake - real)),
    ),
    "relativistic_average": (
        get("relativistic_average"),
        lambda real, fake: average_relativistic(real, fake, 1),
        lambda fake, real: average_relativistic(real, fake, -1),
    ),
    "ebgan": (
        get("ebgan", margin=2.5),
        lambda real, fake: np.mean(real) + np.mean(relu(2.5 - fake)),
        lambda fake, real: np.mean(fake),
    ),
    "began": (
        at_k(get("began"), 0.25),
        lambda real, fake: np.mean(real) - 0.25 * np.mean(fake),
        lambda fake, real: np.mean(fake),
    ),
    "smoothed minimax": (
        OneSidedLabelSmoothing(Minimax(), 0.8),
        lambda real, fake: -np.mean(0.8 * log_expit(real) + 0.2 * log_expit(-real)) - np.mean(log_expit(-fake)),
        lambda fake, real: np.mean(log_expit(-fake)),
    ),
    "smoothed non_saturating": (
        OneSidedLabelSmoothing(NonSaturating()),
        lambda real, fake: -np.mean(0.9 * log_expit(real) + 0.1 * log_expit(-real)) - np.mean(log_expit(-fake)),
        lambda fake, real: -np.mean(log_expit(fake)),
    ),
}
for _name in NUMPY_F:
    ALL[f"f:{_name}"] = (get(f"f:{_name}"), *f_gan_formulas(_name, False))
    ALL[f"f:{_name} saturating"] = (get(f"f:{_name}", saturating=True), *f_gan_formulas(_name, True))
ALL |= {name: (get(name), FORMULAS[name][0], lambda fake, real, f=FORMULAS[name][1]: f(fake)) for name in NAMES}
every_objective = pytest.mark.parametrize("name", ALL)
pairs = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(-6, 6, width=32), min_size=n, max_size=n).map(np.array)] * 2)
)


def f64(a, requires_grad=False):
    return mg.tensor(np.asarray(a, np.float64), requires_grad=requires_grad)


def test_every_name_is_among_those_tested():
    assert set(objectives.names()) == {name.removesuffix(" saturating") for name in ALL if "smoothed" not in name}


@every_objective
@examples(1)
@given(drawn=pairs)
def test_all_losses_are_their_formulas(name, drawn):
    (real, fake), (objective, discriminator, generator) = drawn, ALL[name]
    assert_allclose(objective.discriminator_loss(f64(real), f64(fake)).item(), discriminator(real, fake), atol=1e-12)
    assert_allclose(objective.generator_loss(f64(fake), f64(real)).item(), generator(fake, real), atol=1e-12)


@pytest.mark.parametrize("name", [name for name in ALL if name != "relativistic"])
def test_batches_of_real_and_fake_may_differ_in_size(name):
    rng = np.random.default_rng(3)
    real, fake = rng.standard_normal(7), rng.standard_normal(3)
    objective, discriminator, generator = ALL[name]
    assert_allclose(objective.discriminator_loss(f64(real), f64(fake)).item(), discriminator(real, fake))
    assert_allclose(objective.generator_loss(f64(fake), f64(real)).item(), generator(fake, real))


@every_objective
@pytest.mark.parametrize("shape", [(1,), (4, 1), (2, 3, 3, 1)], ids=str)
def test_all_losses_are_scalars_of_the_logits_dtype(name, shape):
    objective, discriminator, generator = ALL[name]
    rng = np.random.default_rng(1)
    real, fake = rng.standard_normal(shape), rng.standard_normal(shape)
    for dtype, rtol in (("float32", 1e-5), ("float64", 1e-12)):
        real_logits, fake_logits = (mg.tensor(a, dtype=dtype) for a in (real, fake))
        d, g = (
            objective.discriminator_loss(real_logits, fake_logits),
            objective.generator_loss(fake_logits, real_logits),
        )
        for loss, expected in ((d, discriminator(real, fake)), (g, generator(fake, real))):
            assert loss.shape == () and loss.dtype == dtype
            assert_allclose(loss.item(), expected, rtol=rtol, atol=rtol)


@every_objective
def test_all_derivatives(name):
    """To order 2, by real and by fake, on a grid that keeps off the kinks (hinge ±1, EBGAN's margin 2.5)."""
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(-8, 8, (6, 1)) / 2 + 0.25 for _ in range(2))
    objective = ALL[name][0]
    mg.check_grad(objective.discriminator_loss, real, fake, order=2)
    mg.check_grad(objective.generator_loss, fake, real, order=2)


@every_objective
def test_only_what_a_generator_says_it_uses_is_used(name):
    objective, _, generator = ALL[name]
    real, fake = f64([0.5, -1.0], True), f64([1.5, 0.25], True)
    if objective.generator_uses_real:
        (by_real,) = mg.grad(objective.generator_loss(fake, real), real)
        assert np.all(by_real.data != 0)
    else:
        (by_real,) = mg.grad(objective.generator_loss(fake, real) + 0 * mg.sum(real), real)
        assert not by_real.data.any()
        assert objective.generator_loss(fake).item() == objective.generator_loss(fake, real).item()


def test_a_relativistic_generator_without_real_logits_and_unequal_batches_are_refused():
    pairing = get("relativistic")
    with pytest.raises(ValueError, match="needs the real logits too"):
        pairing.generator_loss(f64([1.0]))
    for a, b in (((3, 1), (3,)), ((4,), (1,)), ((4,), (3,))):
        for loss in (pairing.discriminator_loss, pairing.generator_loss):
            with pytest.raises(ShapeError, match="one by one"):
                loss(f64(np.zeros(a)), f64(np.zeros(b)))


def test_the_average_relativistic_generator_says_that_it_needs_the_real_logits():
    with pytest.raises(ValueError, match="needs the real logits too"):
        get("relativistic_average").generator_loss(f64([1.0]))


BCE = ("minimax", "non_saturating", "smoothed minimax", "smoothed non_saturating", "relativistic")
BCE += ("relativistic_average", "f:jensen_shannon", "f:jensen_shannon saturating")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BCE)
def test_logistic_losses_are_exact_far_out(name, dtype):
    """At ±1e3 no exponential overflows and none is lost: losses and slopes are the asymptotic lines'."""
    objective = ALL[name][0]
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        a, b = (1e3 * s for s in signs)
        real, fake = (mg.tensor([v, v], requires_grad=True, dtype=dtype) for v in (a, b))
        for loss in (objective.discriminator_loss(real, fake), objective.generator_loss(fake, real)):
            inputs = [real, fake]
            first = mg.grad(loss + 0 * mg.sum(real + fake), inputs, create_graph=True)
            second = mg.grad(mg.sum(mg.concatenate(first)), inputs)
            assert np.isfinite(loss.item()) and all(np.isfinite(g.data).all() for g in (*first, *second))
        relativistic = objective.generator_uses_real
        label = getattr(objective, "label", 1)
        pairwise = np.logaddexp(0, b - a) * (2 if "average" in name else 1)
        expected = pairwise if relativistic else relu(-a) + relu(b)
        expected += (1 - label) * a - (2 * np.log(2) if "f:" in name else 0)
        assert_allclose(objective.discriminator_loss(real, fake).item(), expected, rtol=1e-6, atol=1e-6)


# ---- discriminators trained to their optimum: tables of free logits, by minigan's gradients --------------------------


@st.composite
def tables(draw, zeros=""):
    """Samples of two distributions over 2–10 atoms, real and fake numbers unequal: (ids of both, p, q).

    zeros: which of them ("p", "q", "pq") may miss atoms; every atom is in one of them.
    """
    atoms = draw(st.integers(2, 10))
    rng = np.random.default_rng(draw(seeds))
    counts = rng.integers(1, 30, (2, atoms))
    if zeros:
        side = rng.choice([{"p": 0, "q": 1}[which] for which in zeros], atoms)
        gone = np.flatnonzero(rng.random(atoms) < 0.4)
        counts[side[gone], gone] = 0
        counts[:, 0] += 1  # neither is empty
    ids = [np.repeat(np.arange(atoms), c) for c in counts]
    p, q = (c / c.sum() for c in counts)
    return ids, p, q


def expectations(ids, loss):
    """The loss of a table of logits, as a function of the table."""
    return lambda table: loss(*[mg.take(table, i) for i in ids])


def newton(loss, table, limit=500):
    """The minimum of a smooth convex loss whose Hessian is diagonal (every atom has its own logit)."""
    for _ in range(limit):
        t = f64(table, True)
        (g,) = mg.grad(loss(t), t, create_graph=True)
        (h,) = mg.grad(mg.sum(g), t)
        if abs(g.data).max() < 1e-11:
            return table, loss(f64(table)).item()
        table = table - np.clip(g.data / h.data, -4, 4)
    raise AssertionError("the discriminator has not reached its optimum")


def subgradient(loss, table, reach, low=-np.inf):
    """The minimum of a convex, piecewise linear loss of atoms apart, each within ``reach`` of its start.

    Steps s·sign(∂) with s ← 0.8 s: if the optimum is within s/(1 − 0.8) before a step it is so after it.
    """
    size = reach / 4
    for _ in range(100):
        t = f64(table, True)
        (g,) = mg.grad(loss(t), t)
        table, size = np.maximum(table - size * np.sign(np.round(g.data, 12)), low), 0.8 * size
    return table, loss(f64(table)).item()


def tv(p, q):
    return abs(p - q).sum() / 2


def divergence(name, p, q):
    """D_f(p‖q) from its definition as a sum over atoms, zeros included."""
    m = (p + q) / 2
    return {
        "kl": lambda: rel_entr(p, q).sum(),
        "reverse_kl": lambda: rel_entr(q, p).sum(),
        "jensen_shannon": lambda: rel_entr(p, m).sum() + rel_entr(q, m).sum(),
        "pearson": lambda: ((p - q) ** 2 / q).sum(),
        "squared_hellinger": lambda: ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
    }[name]()


@examples(1)
@given(drawn=tables() | tables("pq"))
def test_trained_minimax_is_the_jensen_shannon_divergence(drawn):
    ids, p, q = drawn
    for name in NAMES:
        table, value = newton(expectations(ids, get(name).discriminator_loss), np.zeros(p.size))
        assert_allclose(-value, divergence("jensen_shannon", p, q) - 2 * np.log(2), atol=1e-9)
        assert_allclose(expit(table), p / (p + q), atol=1e-8)
    if p.all() and q.all():
        fake = mg.take(f64(table), ids[1])
        both = get("minimax").generator_loss(fake).item() + get("non_saturating").generator_loss(fake).item()
        assert_allclose(both, rel_entr(q, p).sum(), rtol=1e-7, atol=1e-9)


@examples(1)
@given(drawn=tables() | tables("pq"))
def test_trained_least_squares(drawn):
    ids, p, q = drawn
    table, value = newton(expectations(ids, get("least_squares").discriminator_loss), np.zeros(p.size))
    assert_allclose(table, p / (p + q), atol=1e-9)
    assert_allclose(value, (p * q / (p + q)).sum() / 2, rtol=1e-9)


@examples(0.6)
@given(drawn=tables() | tables("pq"), start=st.floats(-2, 2))
def test_trained_hinge_is_the_total_variation(drawn, start):
    ids, p, q = drawn
    table, value = subgradient(expectations(ids, get("hinge").discriminator_loss), np.full(p.size, start), 4)
    assert_allclose(value, 2 * (1 - tv(p, q)), atol=1e-7)
    sure = (abs(p - q) > 1e-9) & (p > 0) & (q > 0)  # an atom of one kind only may go beyond the margin
    assert_allclose(table[sure], np.sign(p - q)[sure], atol=1e-7)
    assert np.all(table * np.sign(p - q) >= 1 - 1e-7, where=abs(p - q) > 1e-9)


@examples(0.6)
@given(drawn=tables() | tables("pq"), start=st.floats(0, 2), margin=st.floats(0.25, 8))
def test_trained_ebgan_is_the_total_variation(drawn, start, margin):
    ids, p, q = drawn
    loss = expectations(ids, EBGAN(margin).discriminator_loss)
    table, value = subgradient(loss, np.full(p.size, start), margin + 2, low=0)
    assert_allclose(value, margin * (1 - tv(p, q)), atol=1e-6)
    sure = (abs(p - q) > 1e-9) & (p > 0) & (q > 0)
    assert_allclose(table[sure], np.where(p > q, 0, margin)[sure], atol=1e-6)


FINITE = {"kl": "p", "reverse_kl": "q", "jensen_shannon": "pq", "pearson": "p", "squared_hellinger": "pq"}
SLOPES = {  # f′, by hand
    "kl": lambda u: 1 + np.log(u),
    "reverse_kl": lambda u: -1 / u,
    "jensen_shannon": lambda u: np.log(2 * u / (1 + u)),
    "pearson": lambda u: 2 * (u - 1),
    "squared_hellinger": lambda u: 1 - u**-0.5,
}


@pytest.mark.parametrize("name", FINITE)
@examples(1)
@given(data=st.data())
def test_trained_f_gan_is_its_divergence(name, data):
    ids, p, q = data.draw(tables() | tables(FINITE[name]))
    objective = FGAN(name, saturating=True)
    table, value = newton(expectations(ids, objective.discriminator_loss), np.full(p.size, objective.threshold))
    assert_allclose(-value, divergence(name, p, q), rtol=1e-8, atol=1e-8)
    real, fake = (mg.take(f64(table), i) for i in ids)
    assert FGAN(name).discriminator_loss(real, fake).item() == value
    kept = (p > 0) & (q > 0)
    best = SLOPES[name]((p / np.where(q, q, 1))[kept])
    assert_allclose(objective.row.activation(f64(table)).data[kept], best, rtol=1e-6, atol=1e-8)
    depends = divergence(name, p, q) - objective.row.activation(real).data.mean()  # on G, of the divergence
    assert_allclose(objective.generator_loss(fake).item(), depends, rtol=1e-7, atol=1e-7)


@examples(1)
@given(drawn=tables() | tables("pq"), label=st.floats(0.5, 1), saturating=st.booleans())
def test_trained_with_smoothed_labels(drawn, label, saturating):
    ids, p, q = drawn
    plain = Minimax() if saturating else NonSaturating()
    smoothed = OneSidedLabelSmoothing(plain, label)
    table, _ = newton(expectations(ids, smoothed.discriminator_loss), np.zeros(p.size))
    assert_allclose(expit(table), label * p / (p + q), atol=1e-8)
    fake = f64(table, True)
    for ours, theirs in zip(
        (loss := smoothed.generator_loss(fake), *mg.grad(loss, fake)),
        (loss := plain.generator_loss(fake), *mg.grad(loss, fake)),
    ):
        assert np.array_equal(ours.data, theirs.data)


def test_without_smoothing_label_1_is_the_objective_itself():
    real, fake = f64([0.3, -2.0]), f64([1.0, 0.7])
    one = OneSidedLabelSmoothing(Minimax(), 1)
    assert one.discriminator_loss(real, fake).item() == Minimax().discriminator_loss(real, fake).item()
    assert one.zero_sum and not OneSidedLabelSmoothing(NonSaturating()).zero_sum


@st.composite
def small_tables(draw):
    """Few samples, since all pairs of them are taken: (ids of all pairs, p, q)."""
    atoms = draw(st.integers(2, 5))
    counts = np.random.default_rng(draw(seeds)).integers(1, 6, (2, atoms))
    real, fake = (np.repeat(np.arange(atoms), c) for c in counts)
    p, q = (c / c.sum() for c in counts)
    return (np.repeat(real, fake.size), np.tile(fake, real.size)), p, q


@examples(0.6)
@given(drawn=small_tables())
def test_trained_relativistic_pairing_is_a_jensen_shannon_divergence_of_pairs(drawn):
    ids, p, q = drawn
    loss = expectations(ids, get("relativistic").discriminator_loss)

    def value_and_slope(table):
        t = f64(table, True)
        value = loss(t)
        return value.item(), mg.grad(value, t)[0].data

    found = optimize.minimize(value_and_slope, np.zeros(p.size), jac=True, method="BFGS", options={"gtol": 1e-9})
    there, here = np.multiply.outer(p, q), np.multiply.outer(q, p)
    assert_allclose(found.fun, np.log(2) - divergence("jensen_shannon", there, here) / 2, atol=1e-9)
    ratio = np.log(p / q)
    assert_allclose(found.x - found.x.mean(), ratio - ratio.mean(), atol=1e-4)
    assert abs(value_and_slope(ratio)[1]).max() < 1e-14  # a minimum of a convex function


@pytest.mark.parametrize("name", ["relativistic", "relativistic_average", "wasserstein"])
@examples(0.6)
@given(drawn=pairs, constant=st.floats(-50, 50, width=32))
def test_a_constant_added_to_the_discriminator_changes_nothing(name, drawn, constant):
    objective = get(name)
    results = []
    for c in (0.0, constant):
        real, fake = (f64(a + c, True) for a in drawn)
        losses = objective.discriminator_loss(real, fake), objective.generator_loss(fake, real)
        gradients = [g.data for loss in losses for g in mg.grad(loss + 0 * mg.sum(real + fake), (real, fake))]
        results.append([*(loss.data for loss in losses), *gradients])
    if name == "wasserstein":  # there only the discriminator's loss, and all slopes
        for result in results:
            del result[1]
    for before, after in zip(*results):
        assert_allclose(after, before, rtol=1e-10, atol=1e-10)


@examples(1)
@given(drawn=tables() | tables("pq"), seed=seeds)
def test_trained_wasserstein_is_the_transport_distance(drawn, seed):
    """The best 1-Lipschitz critic on points of a line, by linear programming with minigan's gradient as the costs."""
    ids, p, q = drawn
    points = np.random.default_rng(seed).uniform(-3, 3, p.size)
    loss = expectations(ids, get("wasserstein").discriminator_loss)
    zero = f64(np.zeros(p.size), True)
    (cost,) = mg.grad(loss(zero), zero)
    i, j = np.nonzero(~np.eye(p.size, dtype=bool))
    rows = np.eye(p.size)[i] - np.eye(p.size)[j]  # f(x_i) − f(x_j) ≤ |x_i − x_j|
    solved = optimize.linprog(
        cost.data, rows, abs(points[i] - points[j]), bounds=[(0, 0), *[(None, None)] * (p.size - 1)]
    )
    assert solved.status == 0
    distance = wasserstein_distance(points, points, p, q)
    assert_allclose(loss(f64(solved.x)).item(), -distance, atol=1e-8)
    fake = mg.take(f64(solved.x), ids[1])
    assert_allclose(get("wasserstein").generator_loss(fake).item(), -(q @ solved.x), atol=1e-12)


# ---- what an objective says of itself --------------------------------------------------------------------------------

ZERO_SUM = {"minimax", "smoothed minimax", "wasserstein"} | {f"f:{name} saturating" for name in NUMPY_F}


@every_objective
def test_all_are_zero_sum_as_declared(name):
    """D's and G's loss have opposite slopes by the fake logits, everywhere; or they do not, somewhere."""
    objective = ALL[name][0]
    rng = np.random.default_rng(2)
    cancels = []
    for _ in range(5):  # spread over hinge's and EBGAN's margins
        real, fake = f64(3 * rng.standard_normal(8)), f64(3 * rng.standard_normal(8), True)
        total = objective.discriminator_loss(real, fake) + objective.generator_loss(fake, real)
        cancels.append(np.allclose(mg.grad(total, fake)[0].data, 0, atol=1e-14))
    assert objective.zero_sum == all(cancels) == (name in ZERO_SUM)


THRESHOLDS = {
    "minimax": 0,
    "non_saturating": 0,
    "least_squares": 0.5,
    "hinge": 0,
    "f:kl": 1,
    "f:reverse_kl": 0,
    "f:jensen_shannon": 0,
    "f:pearson": 0,
    "f:squared_hellinger": 0,
} | dict.fromkeys(("wasserstein", "relativistic", "relativistic_average", "ebgan", "began"))
SEPARABLE = [name for name, (o, *_) in ALL.items() if o.threshold is not None and name != "hinge"]


def test_thresholds_and_signs_are_declared():
    for name, threshold in THRESHOLDS.items():
        assert get(name).threshold == threshold
        assert get(name).sign == (-1 if name in ("ebgan", "began") else 1)
        assert get(name).generator_uses_real == name.startswith("relativistic")
        assert get(name).probabilities == (name in NAMES)


@pytest.mark.parametrize("name", SEPARABLE)
def test_threshold_separates_where_p_and_q_are_larger(name):
    objective = ALL[name][0]
    counts = np.array([[3, 1, 2, 5, 4, 9], [3, 2, 1, 5, 6, 7]])
    ids = [np.repeat(np.arange(6), c) for c in counts]  # as many of both, hence p = q where the counts are equal
    table, _ = newton(expectations(ids, objective.discriminator_loss), np.full(6, objective.threshold))
    assert_allclose(table[counts[0] == counts[1]], objective.threshold, atol=1e-9)
    more = counts[0] != counts[1]
    assert np.array_equal(np.sign(table - objective.threshold)[more], np.sign(counts[0] - counts[1])[more])


@every_objective
def test_sign_says_which_samples_get_the_larger_outputs(name):
    """Descending on D's loss, outputs of real samples go to the side of ``sign`` and fake ones the other way; G pushes
    back.
    """
    objective = ALL[name][0]
    real, fake = f64([0.1, 0.2], True), f64([0.15, 0.3], True)
    by_real, by_fake = mg.grad(objective.discriminator_loss(real, fake), (real, fake))
    (by_g,) = mg.grad(objective.generator_loss(fake, real), fake)
    assert np.all(-objective.sign * by_real.data > 0)
    assert np.all(-objective.sign * by_fake.data < 0)
    assert np.all(-objective.sign * by_g.data > 0)


# ---- the f-GAN table -------------------------------------------------------------------------------------------------

every_row = pytest.mark.parametrize("name", DIVERGENCES)
numbers = st.floats(-5, 5)


def f_and_slope(row, u):
    """f(u), f′(u), the slope by minigan."""
    u = f64(u, True)
    value = row.f(u)
    return value.item(), mg.grad(value, u)[0].item()


@every_row
@examples(3)
@given(v=numbers)
def test_the_conjugate_of_the_activation_is_just_that(name, v):
    row = DIVERGENCES[name]
    composed = row.conjugate(row.activation(f64(v))).item()
    assert_allclose(row.conjugate_of_activation(f64(v)).item(), composed, rtol=1e-9, atol=1e-12)


@every_row
@examples(3)
@given(v=numbers, log_u=numbers)
def test_fenchel_young(name, v, log_u):
    """f(u) + f*(t) ≥ u t, with equality at t = f′(u); the slopes are those written by hand."""
    row, u = DIVERGENCES[name], float(np.exp(log_u))
    value, slope = f_and_slope(row, u)
    t = row.activation(f64(v)).item()
    assert value + row.conjugate(f64(t)).item() >= u * t - 1e-9 * (1 + u * abs(t))
    assert_allclose(value + row.conjugate(f64(slope)).item(), u * slope, rtol=1e-8, atol=1e-9)
    assert_allclose(slope, SLOPES[name](u), rtol=1e-9, atol=1e-12)


@every_row
@examples(2)
@given(v=numbers)
def test_the_conjugate_is_the_supremum(name, v):
    row = DIVERGENCES[name]
    t = row.activation(f64(v)).item()
    found = optimize.minimize_scalar(
        lambda log_u: row.f(f64(np.exp(log_u))).item() - np.exp(log_u) * t,
        bounds=(-25, 25),
        method="bounded",
        options={"xatol": 1e-10},
    )
    if name == "pearson" and t < -2:  # continued there: an upper bound
        assert_allclose(-found.fun, -1, atol=1e-6)
        assert row.conjugate(f64(t)).item() > -1
    else:
        assert_allclose(row.conjugate(f64(t)).item(), -found.fun, rtol=1e-7, atol=1e-7)


@every_row
def test_f_at_1(name):
    row = DIVERGENCES[name]
    value, slope = f_and_slope(row, 1.0)
    assert_allclose(value, 0, atol=1e-15)
    assert_allclose(row.activation(f64(row.threshold)).item(), slope, atol=1e-15)  # threshold = g⁻¹(f′(1))
    second = mg.check_grad(row.f, np.array(0.7), order=2)
    assert second < 1e-6
    at_equilibrium = f64([row.threshold] * 3)
    assert_allclose(FGAN(name).discriminator_loss(at_equilibrium, at_equilibrium).item(), 0, atol=1e-15)


@every_row
@examples(2)
@given(v=st.lists(numbers, min_size=2, max_size=2, unique=True))
def test_activations_grow(name, v):
    low, high = (DIVERGENCES[name].activation(f64(x)).item() for x in sorted(v))
    assert low <= high and (low < high or max(v) - min(v) < 1e-10)


def test_values_of_all_at_equilibrium():
    expected = {
        "least_squares": (1 / 4, 1 / 8),
        "hinge": (2, 0),
        "relativistic": (np.log(2), np.log(2)),
        "relativistic_average": (2 * np.log(2), 2 * np.log(2)),
        "wasserstein": (0, 0),
    }
    for name, (d, g) in expected.items():
        even = f64([get(name).threshold or 0] * 2)
        assert_allclose(get(name).discriminator_loss(even, even).item(), d, atol=1e-15)
        assert_allclose(get(name).generator_loss(even, even).item(), g, atol=1e-15)


# ---- BEGAN's balance -------------------------------------------------------------------------------------------------


@examples(1)
@given(seed=seeds, diversity=st.floats(0.1, 1), rate=st.floats(0.01, 2))
def test_began_moves_k_as_a_loop_would(seed, diversity, rate):
    """Both sides of the clip are reached (large rates), and M is measured beside."""
    rng = np.random.default_rng(seed)
    began, k = BEGAN(diversity, rate), 0.0
    assert began.readings() == {}
    for _ in range(8):
        real, fake = rng.uniform(0, 3, 5), rng.uniform(0, 3, (4, 1))
        began.after_round(real, fake)
        k = k + rate * (diversity * real.mean() - fake.mean())
        k = 0.0 if k < 0 else 1.0 if k > 1 else k
        assert_allclose(began.readings()["k"], k, atol=1e-12)
        measure = real.mean() + abs(diversity * real.mean() - fake.mean())
        assert_allclose(began.readings()["M"], measure)
        assert all(np.shape(a) == () for a in began.readings().values())
        assert_allclose(
            began.discriminator_loss(f64(real), f64(fake)).item(), real.mean() - k * fake.mean(), atol=1e-12
        )


def test_began_k_is_clipped_at_both_ends():
    for real, fake, end in ((10.0, 0.0, 1), (0.0, 10.0, 0)):
        began = BEGAN(rate=1.0)
        for _ in range(2):
            began.after_round(np.array([real]), np.array([fake]))
            assert began.readings()["k"] == end


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_began_state_round_trip(dtype):
    rng = np.random.default_rng(0)
    one, other = BEGAN(rate=0.1), BEGAN(rate=0.1)
    assert one.state_dict() == {"k": 0}  # also before any round
    draws = [rng.uniform(0, 1, (2, 6)).astype(dtype) for _ in range(6)]
    for real, fake in draws[:3]:
        one.after_round(2 * real, fake)
    state = one.state_dict()
    assert set(state) == {"k"} and type(state["k"]) is np.ndarray and state["k"] > 0
    other.load_state_dict(state)
    for real, fake in draws[3:]:
        for began in (one, other):
            began.after_round(2 * real, fake)
        assert one.readings()["k"] == other.readings()["k"] and one.readings()["k"].dtype == dtype
        losses = [b.discriminator_loss(mg.tensor(real), mg.tensor(fake)) for b in (one, other)]
        assert losses[0].item() == losses[1].item() and losses[0].dtype == losses[1].dtype == dtype
    before = one.state_dict()
    for wrong in ({}, {"k": np.zeros(2)}, {"j": np.array(0.5)}, {"k": np.array(0.5), "j": np.array(1.0)}):
        with pytest.raises(ValueError, match="BEGAN's state is k"):
            one.load_state_dict(wrong)
    assert one.state_dict() == before


def test_objectives_without_state_have_none():
    for name, (objective, *_) in ALL.items():
        if name != "began":
            assert objective.state_dict() == {} == objective.readings()
            objective.load_state_dict({})
            with pytest.raises(ValueError, match=f"{type(objective).__name__} has no state, got k"):
                objective.load_state_dict({"k": np.array(0.0)})


def test_began_k_is_constant_within_a_round():
    """Three critic moves and one of the generator see the same k; the round's end changes it, once."""
    seen = []

    class Watched(BEGAN):
        def discriminator_loss(self, real, fake):
            seen.append(float(self.k))
            return super().discriminator_loss(real, fake)

    began = Watched(rate=0.5)
    rng = np.random.default_rng(0)
    D = nn.Sequential(nn.Dense(2, 4), nn.Tanh(), nn.Dense(4, 1), nn.Sigmoid())  # losses ≥ 0
    data = Batches(rng.standard_normal((32, 2)).astype("float32"), 8, seed=0)
    game = GAN(nn.Sequential(nn.Dense(2, 2)), D, data, latent_dim=2, objective=began)
    solver = Alternating({player: SGD(ps, lr=0.1) for player, ps in game.players.items()}, moves={"D": 3})
    k = 0.0
    for step in range(4):
        solver.step(game, step)
        assert seen == [k] * 3
        seen.clear()
        real, fake = (game.logits[kind].mean() for kind in ("real", "fake"))
        k = float(np.clip(np.float32(k) + 0.5 * (0.5 * real - fake), 0, 1))
        assert_allclose(game.readings()["k"], k, rtol=1e-6, atol=1e-7)
        k = float(game.readings()["k"])
    before = began.state_dict()
    for _ in range(3):
        game.losses(game.batch(9))
    assert began.state_dict() == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: EBGAN(0),
        lambda: EBGAN(-1.0),
        lambda: EBGAN(float("nan")),
        lambda: BEGAN(diversity=0),
        lambda: BEGAN(diversity=1.5),
        lambda: BEGAN(rate=0),
        lambda: OneSidedLabelSmoothing(get("hinge")),
        lambda: OneSidedLabelSmoothing("minimax"),
        lambda: OneSidedLabelSmoothing(Minimax(), 0),
        lambda: OneSidedLabelSmoothing(Minimax(), 1.1),
        lambda: FGAN("total_variation"),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ValueError):
        make()


# ---- by name ---------------------------------------------------------------------------------------------------------


def test_get():
    assert type(get("minimax")) is Minimax and type(get("non_saturating")) is NonSaturating
    mine = Minimax()
    assert get(mine) is mine
    with pytest.raises(ValueError, match="no objective named 'minmax'; there are minimax, non_saturating"):
        get("minmax")


def test_an_objective_has_to_say_both_losses():
    class Mine(Objective):
        pass

    for method in (Mine().discriminator_loss, Mine().generator_loss):
        with pytest.raises(NotImplementedError):
            method(mg.tensor([1.0]), mg.tensor([1.0]))


def test_all_names_give_fresh_objectives_with_their_settings():
    assert objectives.names()[:2] == NAMES and len(set(objectives.names())) == len(objectives.names()) == 14
    for name in objectives.names():
        assert isinstance(get(name), Objective) and get(name) is not get(name)
    assert type(get("relativistic")) is RelativisticPairing
    assert type(get("relativistic_average")) is RelativisticAverage
    assert (get("ebgan", margin=3).margin, get("began", diversity=0.7).diversity) == (3, 0.7)
    for name in DIVERGENCES:
        assert get(f"f:{name}").divergence == name and not get(f"f:{name}").zero_sum
        assert get(f"f:{name}", saturating=True).zero_sum
    with pytest.raises(ValueError, match="no f-divergence 'chi'; there are kl, reverse_kl"):
        FGAN("chi")


def test_regularizers_by_name():
    for name, settings in (
        ("r1", {"gamma": 0.1}),
        ("gradient_penalty", {"weight": 3}),
        ("pulling_away", {"layer": "x"}),
    ):
        made = objectives.regularizer(name, **settings)
        assert made.name == name and all(getattr(made, key) == value for key, value in settings.items())
        assert all(f"{key}={value!r}" in repr(made) for key, value in settings.items())
    with pytest.raises(ValueError, match="no regulariser named 'r3'; there are gradient_penalty, lipschitz_penalty"):
        objectives.regularizer("r3")
