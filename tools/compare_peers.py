"""What TRL and verl share: one random batch, gradients, and the fixture that is written.

Rows are attempts, in groups of four with a prompt each; row i has length[i] sampled tokens. All
numbers are made with 64-bit floats, as stepwell's own losses and advantages are.
"""

import json
import platform

import torch

torch.set_default_dtype(torch.float64)
LENGTHS = [3, 5, 2, 7, 4, 4, 6, 1, 5, 3, 7, 2]
GROUPS = [0] * 4 + [1] * 4 + [2] * 4
WIDTH = max(LENGTHS)


def single(tensor):
    """Numbers that a 32-bit float holds exactly: stepwell reads log-probabilities as those."""
    return tensor.float().double()


def batch(seed=7):
    """The batch, as tensors of [rows, WIDTH] with zeros behind a row's end."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    mask = torch.tensor([[float(t < n) for t in range(WIDTH)] for n in LENGTHS])
    old = -normal(12, WIDTH).abs() - 0.1
    columns = {
        "old": old,
        "logprob": old + 0.3 * normal(12, WIDTH),
        "reference": old + 0.3 * normal(12, WIDTH),
        "value": normal(12, WIDTH),
        "new_value": normal(12, WIDTH),
    }
    columns = {name: single(column) * mask for name, column in columns.items()}
    # A group of rights and wrongs, one of shades, one where all are equal.
    reward = torch.tensor([1, 0, 0, 1, 0.25, -0.5, 1, 0.125, 0.5, 0.5, 0.5, 0.5])
    return {"mask": mask, "reward": reward, "advantage": single(normal(12)), **columns}


def rows(tensor):
    """A tensor of [rows, WIDTH] as lists without what stands behind a row's end."""
    return [row[:n] for row, n in zip(tensor.tolist(), LENGTHS)]


def with_gradient(function, *leaves):
    """The value of a function and its gradients with respect to its arguments."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    value = function(*leaves)
    value.backward()
    return value.item(), [leaf.grad for leaf in leaves]


def write(path, versions, b, expected):
    """Writes a fixture."""
    inputs = {"length": LENGTHS, "group": GROUPS, "reward": b["reward"].tolist()}
    inputs["advantage"] = b["advantage"].tolist()
    for name in ("old", "logprob", "reference", "value", "new_value"):
        inputs[name] = rows(b[name])
    made_with = {**versions, "torch": torch.__version__, "python": platform.python_version()}
    fixture = {"made_with": made_with, "batch": inputs, **expected}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(fixture, file, indent=None, separators=(",", ":"))
        file.write("\n")
    print(f"{path}: {', '.join(expected)}")
