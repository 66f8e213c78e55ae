#!/usr/bin/env python3
"""Writes crates/methods/tests/fixtures/verl.json: what verl computes on a random batch.

Needs: pip install torch numpy omegaconf, and verl (its core functions alone are used:
pip install --no-deps verl; what else it imports is replaced by stand-ins where it is absent)
Usage: python tools/compare_verl.py crates/methods/tests/fixtures/verl.json

`cargo test -p stepwell-methods --test peers` compares. No code of verl is copied: it is called.
"""

import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
import types
from unittest import mock

import numpy as np
import torch
from compare_peers import GROUPS, batch, rows, with_gradient, write


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Packages for clusters and configuration files, of which a formula needs nothing."""

    NAMES = ("ray", "hydra", "tensordict", "torchdata", "codetiming", "cloudpickle", "orjson")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.NAMES:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = lambda name: mock.MagicMock(name=name)
        return module

    def exec_module(self, module):
        pass


sys.meta_path.append(StandIn())

from verl.trainer.ppo import core_algos  # noqa: E402
from verl.utils import torch_functional  # noqa: E402
from verl.workers.config import ActorConfig  # noqa: E402

AGGREGATIONS = {
    "token_mean": "token-mean",
    "sequence_mean_token_mean": "seq-mean-token-mean",
    "sequence_mean_token_sum_norm": "seq-mean-token-sum-norm",
}


class Settings(dict):
    """What an estimator asks of its configuration."""

    __getattr__ = dict.__getitem__


def advantages(b):
    outcome = torch.zeros_like(b["mask"])
    for row, mask in enumerate(b["mask"]):
        outcome[row, int(mask.sum()) - 1] = b["reward"][row]
    index, mask = np.array(GROUPS), b["mask"]

    def of(name, **more):
        estimator = core_algos.get_adv_estimator_fn(name)
        values, _ = estimator(token_level_rewards=outcome.clone(), response_mask=mask, **more)
        return rows(values)

    plain, divided = (Settings(norm_adv_by_std_in_grpo=by, gamma=1.0) for by in (False, True))
    return {
        "group_mean": of("grpo", index=index),
        "group_mean_without_std": of("grpo", index=index, norm_adv_by_std_in_grpo=False),
        "leave_one_out": of("rloo", index=index),
        "length_weighted": of("opo", index=index),
        "pass_at_k": of("grpo_passk", index=index, config=divided),
        "pass_at_k_without_std": of("grpo_passk", index=index, config=plain),
        "gpg": of("gpg", index=index),
        "reinforce_plus_plus": of("reinforce_plus_plus", config=plain),
        "reinforce_plus_plus_baseline": of(
            "reinforce_plus_plus_baseline", index=index, config=plain
        ),
    }


def settings(**more):
    base = {"strategy": "fsdp", "rollout_n": 4, "ppo_micro_batch_size_per_gpu": 12}
    return ActorConfig(**base, **more)


def losses(b):
    found = []

    def add(objective, name, config, aggregation, **said):
        loss = core_algos.get_policy_loss_fn(name)
        credit = b["advantage"][:, None].expand_as(b["mask"])
        mode = AGGREGATIONS[aggregation]

        def call(logprob):
            return loss(b["old"], logprob, credit, b["mask"], mode, config)[0]

        value, (gradient,) = with_gradient(call, b["logprob"])
        kind = {"objective": objective, "aggregation": aggregation, **said}
        found.append({**kind, "value": value, "gradient": rows(gradient)})

    for aggregation in AGGREGATIONS:
        clip = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}
        config = settings(**clip, clip_ratio_c=1.5)
        add("clipped", "vanilla", config, aggregation, clip_low=0.2, clip_high=0.28, dual_clip=1.5)
    clip = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.15}
    mean = "sequence_mean_token_mean"
    add("gspo", "gspo", settings(**clip), mean, clip_low=0.1, clip_high=0.15)
    clip = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2}
    add("gmpo", "geo_mean", settings(**clip), mean, clip_low=0.2, clip_high=0.2)
    clip = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}
    add("cispo", "cispo", settings(**clip), "token_mean", clip_low=0.2, clip_high=0.28)
    return found


def divergences(b):
    def of(kind):
        estimate = core_algos.kl_penalty_forward(b["logprob"], b["reference"], kind)
        return rows(estimate * b["mask"])

    return {"k1": of("kl"), "k2": of("mse"), "k3": of("low_var_kl")}


def values(b):
    """Estimates with values: sampled tokens alone, and rows that observe tokens 1 and 2."""
    draw = torch.Generator().manual_seed(11)
    reward = torch.randn(b["mask"].shape, generator=draw) * b["mask"]
    observed = b["mask"].clone()
    observed[:, 1:3] = 0
    found = {"gamma": 0.99, "lambda": 0.95, "reward": rows(reward)}
    for name, mask in (("sampled", b["mask"]), ("with_observations", observed)):
        whitened, returns = core_algos.compute_gae_advantage_return(
            reward * mask, b["value"], mask, 0.99, 0.95
        )
        found[name] = {
            "mask": rows(mask),
            "returns": rows(returns * mask),
            "advantage": rows((returns - b["value"]) * mask),
            "whitened": rows(whitened * mask),
        }

    def call(new):
        return core_algos.compute_value_loss(new, b["old"], b["value"], b["mask"], 0.2)[0]

    value, (gradient,) = with_gradient(call, b["new_value"])
    # `old` stands for the returns: any numbers will do.
    found["loss"] = {"clip": 0.2, "returns": "old", "value": value, "gradient": rows(gradient)}
    found["masked_whiten"] = rows(torch_functional.masked_whiten(b["value"], b["mask"]) * b["mask"])
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    b = batch()
    versions = {"verl": importlib.metadata.version("verl")}
    expected = {
        "advantages": advantages(b),
        "losses": losses(b),
        "divergences": divergences(b),
        "values": values(b),
    }
    write(sys.argv[1], versions, b, expected)


if __name__ == "__main__":
    main()
