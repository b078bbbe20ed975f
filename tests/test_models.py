"""The ready-made networks: shapes, sizes, names, and logits instead of probabilities."""

import numpy as np
import pytest

import minigan as mg
from minigan import models, nn


def noise(*shape, scale=1.0):
    return mg.tensor(scale * np.random.default_rng(0).standard_normal(shape), dtype="float32")


def count(net):
    return sum(p.size for p in net.parameters())


@pytest.mark.parametrize("channels, latent_dim, batch", [(64, 100, 2), (8, 5, 3)])
def test_dcgan_shapes_and_sizes(channels, latent_dim, batch):
    G, D = models.dcgan_generator(latent_dim, channels), models.dcgan_discriminator(channels)
    images = G(noise(batch, latent_dim))
    assert (images.shape, images.dtype) == ((batch, 28, 28, 1), np.float32)
    assert D(images).shape == (batch, 1)
    G.convtranspose2.weight.assign(1e3 * G.convtranspose2.weight.numpy())
    assert 0.99 < np.abs(G(noise(batch, latent_dim)).numpy()).max() <= 1  # tanh
    c = channels
    dense, norms, convs = latent_dim * 49 * 2 * c, 2 * 2 * c + 2 * c, 16 * 2 * c * c + 16 * c + 1
    assert count(G) == dense + norms + convs
    assert count(D) == (16 * c + c) + 16 * c * 2 * c + 2 * 2 * c + (49 * 2 * c + 1)  # γ and β instead of a bias
    critic = models.dcgan_discriminator(channels, batch_norm=False)
    assert count(critic) == (16 * c + c) + (16 * c * 2 * c + 2 * c) + (49 * 2 * c + 1)


def test_dcgan_names():
    assert [p.name for p in models.dcgan_generator(channels=2).parameters()] == [
        *["G.dense1.weight", "G.batchnorm1.gamma", "G.batchnorm1.beta"],
        *["G.convtranspose1.weight", "G.batchnorm2.gamma", "G.batchnorm2.beta"],
        *["G.convtranspose2.weight", "G.convtranspose2.bias"],
    ]
    names = ["conv1.weight", "conv1.bias", "conv2.weight", "batchnorm1.gamma", "batchnorm1.beta", "dense1.weight"]
    names = [f"D.{name}" for name in [*names, "dense1.bias"]]
    assert [p.name for p in models.dcgan_discriminator(channels=2).parameters()] == names


def test_dcgan_weights_are_drawn_as_radford_et_al_do():
    for net in (models.dcgan_generator(), models.dcgan_discriminator()):
        for name, p in net.named_parameters():
            mean, std = {"weight": (0, 0.02), "gamma": (1, 0.02)}.get(name.rpartition(".")[2], (0, 0))
            bound = 5 / np.sqrt(p.size)
            assert abs(p.numpy().mean() - mean) <= bound * std and abs(p.numpy().std() - std) <= bound * std, name


@pytest.mark.parametrize("make", [models.dcgan_generator, models.dcgan_discriminator])
def test_a_seed_says_all(make):
    def weights(seed):
        return np.concatenate([p.numpy().ravel() for p in make(channels=4, seed=seed).parameters()])

    assert np.array_equal(weights(0), weights(0)) and not np.array_equal(weights(0), weights(1))


@pytest.mark.parametrize(
    "net, shape",
    [(models.dcgan_discriminator(channels=4, batch_norm=False), (8, 28, 28, 1)), (models.mlp(2, 16, 16, 1), (64, 2))],
    ids=["dcgan", "mlp"],
)
def test_discriminators_give_logits(net, shape):
    y = net(noise(*shape, scale=1e3)).numpy()
    assert y.shape == (shape[0], 1)
    assert y.min() < 0 and y.max() > 1  # no sigmoid at the end
    doubled = net(noise(*shape, scale=2e3)).numpy()  # piecewise linear without end: nothing saturates
    np.testing.assert_allclose(doubled / y, 2, atol=0.1 if shape[0] == 64 else 0.02)


def test_every_dcgan_parameter_gets_a_gradient():
    G, D = models.dcgan_generator(4, 2), models.dcgan_discriminator(2)
    mg.mean(mg.softplus(-D(G(noise(4, 4))))).backward()
    for p in G.parameters() + D.parameters():
        assert p.grad.shape == p.shape and np.any(p.grad.numpy() != 0), p.name


def test_mlp_is_dense_layers_with_activations_between():
    net = models.mlp(2, 16, 8, 3, name="D")
    kinds = [type(net[i]).__name__ for i in range(len(net))]
    assert kinds == ["Dense", "LeakyReLU", "Dense", "LeakyReLU", "Dense"]
    assert net(noise(5, 2)).shape == (5, 3)
    assert count(net) == (2 + 1) * 16 + (16 + 1) * 8 + (8 + 1) * 3
    assert [p.name for p in net.parameters()][:2] == ["D.dense1.weight", "D.dense1.bias"]
    assert isinstance(models.mlp(2, 3, 1, activation=nn.Tanh)[1], nn.Tanh)
    assert len(models.mlp(2, 1)) == 1


@pytest.mark.parametrize("sizes", [(), (3,)])
def test_mlp_needs_two_sizes(sizes):
    with pytest.raises(ValueError, match="at least an input and an output size"):
        models.mlp(*sizes)


# ---- auto-encoders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3, 2)])
def test_the_energy_is_the_mean_distance_from_the_reconstruction(power, shape):
    x, shift = noise(*shape).numpy(), np.float32(0.75)
    halve = nn.Module()
    halve.forward = lambda x: 0.5 * x + shift
    energy = models.Reconstruction(halve, power)(mg.tensor(x)).numpy()
    errors = np.abs(0.5 * x.astype(float) - shift) ** power
    assert energy.shape == (shape[0], 1)
    np.testing.assert_allclose(energy[:, 0], errors.reshape(shape[0], -1).mean(axis=1), rtol=1e-5)
    identity = nn.Module()
    identity.forward = lambda x: x
    assert not models.Reconstruction(identity, power)(mg.tensor(x)).numpy().any()


def test_the_energys_power_by_default_and_refused():
    assert models.Reconstruction(nn.Dense(2, 2)).power == 1
    for power in (0, 3, 1.5, None):
        with pytest.raises(ValueError, match=f"Reconstruction: power must be 1 or 2, got {power}"):
            models.Reconstruction(nn.Dense(2, 2), power)


def test_autoencoders_shapes_sizes_and_names():
    net = models.mlp_autoencoder(3, width=8, code=2, name="D")
    assert net(noise(5, 3)).shape == (5, 3) and net.encoder(noise(5, 3)).shape == (5, 2)
    assert count(net) == (3 * 8 + 8) + (8 * 2 + 2) + (2 * 8 + 8) + (8 * 3 + 3)
    assert [p.name for p in net.parameters()][::2] == [
        *["D.encoder.dense1.weight", "D.encoder.dense2.weight", "D.decoder.dense1.weight", "D.decoder.dense2.weight"]
    ]
    c, code = 2, 5
    net = models.dcgan_autoencoder(c, code)
    x = noise(3, 28, 28, 1, scale=100.0)
    assert net(x).shape == x.shape and net.encoder(x).shape == (3, code)
    convs, dense = 16 * c + c + 16 * c * 2 * c + 2 * c, 49 * 2 * c
    assert count(net) == convs + dense * code + code + code * dense + dense + 16 * 2 * c * c + c + 16 * c + 1
    net.decoder.convtranspose2.weight.assign(1e6 * net.decoder.convtranspose2.weight.numpy())
    assert 0.9 < np.abs(net(x).numpy()).max() <= 1  # tanh
    assert not any(module.couples_samples for _, module in net.named_modules())  # an energy is of one sample


@pytest.mark.parametrize("power", [1, 2])
def test_every_autoencoder_parameter_gets_a_gradient(power):
    for net, shape in ((models.mlp_autoencoder(2, 8), (7, 2)), (models.dcgan_autoencoder(2, 3), (2, 28, 28, 1))):
        nn.init.initialize(net, nn.init.glorot, 0)
        D = models.Reconstruction(net, power).named("D")
        mg.mean(D(noise(*shape))).backward()
        for p in D.parameters():
            assert p.name.startswith("D.autoencoder.") and np.any(p.grad.numpy() != 0), p.name


def test_an_autoencoder_learns_what_it_is_shown():
    """And not what it is not: low energy on the line, high energy beside it."""
    t = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    line, beside = np.hstack([t, t]), np.hstack([t, -t])
    D = models.Reconstruction(nn.init.initialize(models.mlp_autoencoder(2, 16, 1), nn.init.he, 0), 2)
    adam = mg.optim.Adam(D.parameters(), lr=1e-2)
    for _ in range(150):
        adam.zero_grad()
        mg.mean(D(line)).backward()
        adam.step()
    assert D(line).numpy().mean() < 0.01 < 0.1 < D(beside).numpy().mean()
