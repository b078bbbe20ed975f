"""The steps with PyTorch, eager. Variants: "contiguous" or "channels_last" for images; "tf32" on a GPU.

Adam is PyTorch's fused one where there is one for the CPU (from 2.4 on): the quickest it has, less than half the
time of its default.
"""

import os

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.libraries import Task
from benchmarks.workloads import BETA1, BETA2, LATENT_DIM, LEARNING_RATE, PENALTY, SLOPE


def make(workload, start, variant="", device="cpu"):
    """See `libraries`."""
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "tf32" in variant
    if workload.kind in ("forward", "backward"):
        return Task(_chain(workload))
    layout = torch.channels_last if "channels_last" in variant else torch.contiguous_format
    G, D = (net.to(device, memory_format=layout) for net in _networks(workload, start))

    def tensor(a):
        return torch.tensor(a).to(device) if a.ndim != 4 else torch.tensor(_first(a)).to(device, memory_format=layout)

    make_step = {"sampling": _sampling, "critic": _critic, "wgan_gp": _critic}.get(workload.kind, _gan)
    task = Task(make_step(workload, G, D, start, tensor), lambda: _weights(G) + _weights(D))
    if device == "cpu":
        return task
    return task._replace(wait=torch.cuda.synchronize, pool=torch.cuda.memory_reserved)


# ---- networks and layouts: ours are n h w c and kh kw in out, PyTorch's n c h w and out in kh kw --------------------


def _first(a):
    """n h w c → n c h w."""
    return a.transpose(0, 3, 1, 2)


def _networks(workload, start):
    c = workload.width
    if workload.kind == "toy":
        G, D = (
            nn.Sequential(nn.Linear(2, c), nn.LeakyReLU(SLOPE), nn.Linear(c, c), nn.LeakyReLU(SLOPE), nn.Linear(c, n))
            for n in (2, 1)
        )
    else:
        G = nn.Sequential(
            nn.Linear(LATENT_DIM, 7 * 7 * 2 * c, bias=False),
            nn.Unflatten(1, (2 * c, 7, 7)),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.ConvTranspose2d(c, 1, 4, 2, 1),
            nn.Tanh(),
        )
        batch_norm = workload.kind == "dcgan"
        D = nn.Sequential(
            nn.Conv2d(1, c, 4, 2, 1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(c, 2 * c, 4, 2, 1, bias=not batch_norm),
            *([nn.BatchNorm2d(2 * c)] if batch_norm else []),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Linear(7 * 7 * 2 * c, 1),
        )
    with torch.no_grad():
        for net, values in ((G, start.G), (D, start.D)):
            for p, value in zip(net.parameters(), values, strict=True):
                p.copy_(torch.tensor(_to_torch(value, p)))
    return G, D


def _to_torch(w, p):
    """A weight of ours in the shape of parameter ``p``; flattened images (7, 7, c) become (c, 7, 7)."""
    if w.ndim == 4:
        return w.transpose(3, 2, 0, 1)
    if w.ndim == 2 and w.shape[1] % 49 == 0:
        return w.reshape(len(w), 7, 7, -1).transpose(3, 1, 2, 0).reshape(p.shape)
    if w.ndim == 2 and w.shape[0] % 49 == 0:
        return w.reshape(7, 7, -1, w.shape[1]).transpose(3, 2, 0, 1).reshape(p.shape)
    return w.T


def _weights(net):
    """The weights of an MLP in our layout."""
    return [p.detach().cpu().numpy().T for p in net.parameters()]


# ---- the steps ------------------------------------------------------------------------------------------------------


def fused(version):
    """Has this version of PyTorch a fused Adam for the CPU?"""
    return version >= (2, 4)


def _adam(net):
    how = {"fused": True} if fused(torch.__version__) else {}
    return torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, betas=(BETA1, BETA2), **how)


def _move(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _gan(workload, G, D, start, tensor):
    adam_g, adam_d = _adam(G), _adam(D)
    real, latent_d, latent_g = tensor(start.real), tensor(start.latent_d), tensor(start.latent_g)

    def step():
        with torch.no_grad():
            fake = G(latent_d)
        loss_d = _move(adam_d, F.softplus(-D(real)).mean() + F.softplus(D(fake)).mean())
        D.requires_grad_(False)
        loss_g = _move(adam_g, F.softplus(-D(G(latent_g))).mean())
        D.requires_grad_(True)
        return loss_d, loss_g

    return step


def _critic(workload, G, D, start, tensor):
    adam = _adam(D)
    real, fake, epsilon = tensor(start.real), tensor(start.fake), tensor(start.epsilon)

    def loss():
        return D(fake).mean() - D(real).mean()

    def penalty():
        between = (epsilon * real + (1 - epsilon) * fake).requires_grad_(True)
        (g,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
        return PENALTY * ((g.flatten(1).norm(dim=1) - 1) ** 2).mean()

    if workload.kind == "critic":
        return lambda: (_move(adam, loss()),)
    return lambda: (_move(adam, penalty() + loss()),)


def _sampling(workload, G, D, start, tensor):
    G.eval()
    latents = [tensor(z) for z in start.latents]

    def step():
        with torch.inference_mode():
            return [G(z) for z in latents]

    return step


def _chain(workload):
    x = torch.linspace(-1, 1, workload.batch).requires_grad_(True)
    ones = torch.ones(workload.batch)

    def forward():
        y = x
        for _ in range(workload.count // 4):
            y = torch.tanh(-(y * x) + x)
        return y

    def backward():
        x.grad = None
        forward().backward(ones)

    return forward if workload.kind == "forward" else backward
