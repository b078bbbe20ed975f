"""The steps with minigan, written as its documentation writes them. On a GPU the variant "tf32" allows TF32."""

import numpy as np

import minigan as mg
from benchmarks.libraries import Task
from benchmarks.workloads import BETA1, BETA2, LATENT_DIM, LEARNING_RATE, PENALTY


def make(workload, start, variant="", device="cpu"):
    """See `libraries`."""
    backend = mg.backend.get(device)
    if device != "cpu":
        backend.allow_tf32(variant == "tf32")
    if workload.kind in ("forward", "backward"):
        return Task(_chain(workload))
    G, D = _networks(workload, start, device)
    make_step = {"sampling": _sampling, "critic": _critic, "wgan_gp": _critic}.get(workload.kind, _gan)
    step = make_step(workload, G, D, start, device)
    task = Task(step, lambda: [p.numpy() for net in (G, D) for p in net.parameters()])
    if device == "cpu":
        return task
    pool = backend.xp.get_default_memory_pool()
    return task._replace(wait=backend.synchronize, pool=pool.total_bytes, calls=lambda: _count(step, backend))


def _networks(workload, start, device):
    c = workload.width
    if workload.kind == "toy":
        G, D = mg.models.mlp(2, c, c, 2, name="G"), mg.models.mlp(2, c, c, 1, name="D")
    else:
        G = mg.models.dcgan_generator(LATENT_DIM, c)
        D = mg.models.dcgan_discriminator(c, batch_norm=workload.kind == "dcgan")
    for net, values in ((G, start.G), (D, start.D)):
        for p, value in zip(net.parameters(), values, strict=True):
            p.assign(value)
        net.to(device)
    return G, D


def _adam(net):
    return mg.optim.Adam(net.parameters(), lr=LEARNING_RATE, beta1=BETA1, beta2=BETA2)


def _move(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _gan(workload, G, D, start, device):
    adam_g, adam_d = _adam(G), _adam(D)
    real, latent_d, latent_g = (mg.tensor(a, device=device) for a in (start.real, start.latent_d, start.latent_g))

    def step():
        with mg.no_grad():
            fake = G(latent_d)
        loss_d = _move(adam_d, mg.mean(mg.softplus(-D(real))) + mg.mean(mg.softplus(D(fake))))
        with D.frozen():
            loss_g = _move(adam_g, mg.mean(mg.softplus(-D(G(latent_g)))))
        return loss_d, loss_g

    return step


def _critic(workload, G, D, start, device):
    adam = _adam(D)
    real, fake, epsilon = (mg.tensor(a, device=device) for a in (start.real, start.fake, start.epsilon))

    def loss():
        return mg.mean(D(fake)) - mg.mean(D(real))

    def penalty():
        between = mg.tensor(epsilon * real + (1 - epsilon) * fake, requires_grad=True)
        (g,) = mg.grad(mg.sum(D(between)), between, create_graph=True)
        return PENALTY * mg.mean((mg.norm(g, axis=(1, 2, 3)) - 1) ** 2)

    if workload.kind == "critic":
        return lambda: (_move(adam, loss()),)
    return lambda: (_move(adam, penalty() + loss()),)


def _sampling(workload, G, D, start, device):
    G.eval()
    latents = [mg.tensor(z, device=device) for z in start.latents]

    def step():
        with mg.no_grad():
            return [G(z).data for z in latents]

    return step


def _chain(workload):
    x = mg.tensor(np.linspace(-1, 1, workload.batch, dtype=np.float32), requires_grad=True)
    ones = mg.tensor(np.ones(workload.batch, np.float32))

    def forward():
        y = x
        for _ in range(workload.count // 4):
            y = mg.tanh(-(y * x) + x)
        return y

    def backward():
        x.grad = None
        forward().backward(ones)

    return forward if workload.kind == "forward" else backward


def _count(step, backend):
    """Calls of minigan's primitives in one step (a lower bound of kernel launches), and waits for the device."""
    from minigan.autodiff.primitive import Primitive

    own, calls, syncs = Primitive.__call__, [0], backend.syncs

    def counting(self, *args, **params):
        calls[0] += 1
        return own(self, *args, **params)

    Primitive.__call__ = counting
    try:
        step()
    finally:
        Primitive.__call__ = own
    return {"primitive calls": calls[0], "syncs": backend.syncs - syncs}
