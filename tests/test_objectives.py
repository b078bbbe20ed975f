"""Objectives: the formulas, what they are worth at the optimal discriminator, and that nothing overflows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import minigan as mg
from minigan.objectives import Minimax, NonSaturating, Objective, get
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
