#!/usr/bin/env python3
"""Writes crates/methods/tests/fixtures/trl.json: what TRL computes on a random batch.

Needs: pip install torch transformers trl
Usage: python tools/compare_trl.py crates/methods/tests/fixtures/trl.json

The trainers' own methods are called with a stand-in for the trainer and a model that returns the
batch's log-probabilities, so that what is compared is TRL's code and not a copy of it.
`cargo test -p stepwell-methods --test peers` compares.
"""

import importlib.metadata
import sys
import types
from collections import defaultdict
from unittest import mock

import torch
from compare_peers import batch, rows, single, with_gradient, write
from trl import DPOTrainer, GRPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.gkd import GKDTrainer
from trl.experimental.gmpo import GMPOTrainer
from trl.experimental.orpo import ORPOTrainer

BETA = 0.3
# Pairs are rows 2i and 2i + 1 of the batch.
CHOSEN, REJECTED = slice(0, 12, 2), slice(1, 12, 2)


class One:
    """An accelerator of one process."""

    device, num_processes, sync_gradients = torch.device("cpu"), 1, True
    gather = gather_for_metrics = staticmethod(lambda tensor: tensor)
    reduce = staticmethod(lambda tensor, reduction: tensor)
    unwrap_model = staticmethod(lambda model: model)


def trainer(**more):
    """What the methods ask of `self`."""
    base = {
        "accelerator": One(),
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "aux_loss_enabled": False,
        "beta": BETA,
        "model": types.SimpleNamespace(training=True),
        "label_smoothing": 0.1,
    }
    return types.SimpleNamespace(**{**base, **more})


class Model:
    """Returns given log-probabilities, whatever it is asked."""

    training = True

    def __init__(self, logprob):
        zeros = torch.zeros_like(logprob)
        self.outputs = types.SimpleNamespace(
            log_probs=logprob, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )

    def __call__(self, **_):
        return self.outputs


def pairs(b, logprob):
    """Chosen rows, then rejected rows."""
    return torch.cat([logprob[CHOSEN], logprob[REJECTED]])


def summed(tensor):
    return tensor.sum(-1)


def preference(b, name, loss_type, **said):
    """A loss of DPO's trainer over the six pairs, with its gradient per token."""
    mask = pairs(b, b["mask"])
    reference = summed(pairs(b, b["reference"]))
    with_prompt = torch.cat([torch.zeros(12, 1), mask], 1)
    inputs = {
        "input_ids": torch.ones_like(with_prompt).long(),
        "attention_mask": torch.ones_like(with_prompt),
        "completion_mask": with_prompt,
        "ref_chosen_logps": reference[:6],
        "ref_rejected_logps": reference[6:],
    }
    own = trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        use_weighting=False,
    )

    def call(logprob):
        return DPOTrainer._compute_loss(own, Model(pairs(b, logprob)), inputs, False)

    return measured(b, call, {"loss": name, "beta": BETA, **said})


def measured(b, call, kind):
    value, (gradient,) = with_gradient(call, b["logprob"])
    # The derivative of a sum is the same at each of its tokens.
    return {**kind, "value": value, "gradient": gradient[:, 0].tolist()}


def kto(b):
    mask = b["mask"]
    with_prompt = torch.cat([torch.zeros(12, 1), mask], 1)
    label = torch.tensor([True, False] * 6)
    mismatched = (summed(b["old"]), summed(b["old"]) - 0.2)
    own = trainer(
        calculate_KL=True,
        precompute_ref_logps=True,
        loss_type="kto",
        desirable_weight=1.0,
        undesirable_weight=1.5,
        _compute_kl_logps=lambda *_: mismatched[0],
    )
    inputs = {
        "input_ids": torch.ones_like(with_prompt).long(),
        "attention_mask": torch.ones_like(with_prompt),
        "completion_mask": with_prompt,
        "label": label,
        "ref_logps": summed(b["reference"]),
        "ref_KL_logps": mismatched[1],
    }

    def call(logprob):
        return KTOTrainer._compute_loss(own, Model(logprob), inputs, False)

    return measured(b, call, {"loss": "kto", "beta": BETA, "undesirable": 1.5, "z": 0.2})


def without_reference(b):
    """CPO's file has SimPO and the smoothed logistic loss; ORPO's file the odds ratio."""
    length = b["mask"].sum(-1)
    found = []
    for name, loss_type, divide in (("cdpo", "sigmoid", False), ("simpo", "simpo", True)):
        smoothing = 0.1 if name == "cdpo" else 0.0
        own = trainer(alpha=0.0, loss_type=loss_type, simpo_gamma=0.5, label_smoothing=smoothing)

        def call(logprob, own=own, divide=divide):
            score = summed(logprob) / length if divide else summed(logprob)
            return CPOTrainer.cpo_loss(own, score[CHOSEN], score[REJECTED])[0].mean()

        found.append(measured(b, call, {"loss": name, "beta": BETA, "gamma": 0.5}))

    def odds(logprob):
        mean = summed(logprob) / length
        ratio = ORPOTrainer.odds_ratio_loss(trainer(), mean[CHOSEN], mean[REJECTED])[0]
        return (-mean[CHOSEN] - ratio).mean()

    # TRL computes the odds in 32 bits, whatever it is given.
    found.append(measured(b, odds, {"loss": "orpo", "lambda": BETA, "bits": 32}))
    return found


def policy(b, objective, loss_type, aggregation, kind=GRPOTrainer, beta=0.0, level="token", **said):
    """A loss of GRPO's trainer over the twelve rows, with its gradient."""
    own = trainer(
        loss_type=loss_type,
        beta=beta,
        importance_sampling_level=level,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        epsilon_low=said["clip_low"],
        epsilon_high=said["clip_high"] + (1.0 if loss_type == "cispo" else 0.0),
        args=types.SimpleNamespace(
            delta=None, use_bias_correction_kl=False, steps_per_generation=1
        ),
        current_gradient_accumulation_steps=1,
        max_completion_length=9,
        _entropy_bonus_enabled=False,
    )
    inputs = {
        "prompt_ids": torch.ones(12, 1).long(),
        "prompt_mask": torch.ones(12, 1),
        "completion_ids": torch.ones_like(b["mask"]).long(),
        "completion_mask": b["mask"],
        "advantages": b["advantage"],
        "old_per_token_logps": b["old"],
        "ref_per_token_logps": b["reference"],
        "num_items_in_batch": b["mask"].sum(),
    }

    def call(logprob):
        own._get_per_token_logps_and_entropies = lambda *_, **__: (
            logprob,
            torch.zeros_like(logprob),
            None,
        )
        return kind._compute_loss(own, own.model, inputs)

    value, (gradient,) = with_gradient(call, b["logprob"])
    what = {"objective": objective, "aggregation": aggregation, "kl": beta, **said}
    return {**what, "value": value, "gradient": rows(gradient)}


def distillations(seed=11):
    """Whole distributions at six positions of nine tokens; the fifth is masked."""
    draw = torch.Generator().manual_seed(seed)
    student, teacher = (single(3 * torch.randn(6, 9, generator=draw)) for _ in range(2))
    labels = torch.tensor([[0, 0, 0, 0, -100, 0]])
    found = []
    for beta, temperature in ((0.0, 1.0), (0.1, 1.0), (0.5, 2.0), (0.9, 0.5), (1.0, 1.0)):

        def call(logits, beta=beta, temperature=temperature):
            return GKDTrainer.generalized_jsd_loss(
                logits[None], teacher[None], labels, beta=beta, temperature=temperature
            )

        value, (gradient,) = with_gradient(call, student)
        kind = {"beta": beta, "temperature": temperature}
        found.append({**kind, "value": value, "gradient": gradient.tolist()})
    masked = (labels[0] == -100).tolist()
    given = {"student": student.tolist(), "teacher": teacher.tolist(), "masked": masked}
    return {**given, "losses": found}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    b = batch()
    preferences = [
        preference(b, "dpo", "sigmoid"),
        preference(b, "ipo", "ipo"),
        preference(b, "nca", "nca_pair"),
        preference(b, "robust_dpo", "robust", smoothing=0.1),
        kto(b),
        *without_reference(b),
    ]
    clip = {"clip_low": 0.2, "clip_high": 0.28}
    wide = {"clip_low": 0.2, "clip_high": 0.2}
    tight = {"clip_low": 0.1, "clip_high": 0.15}
    mean = "sequence_mean_token_mean"
    losses = [
        policy(b, "clipped", "grpo", mean, beta=0.04, **clip),
        policy(b, "clipped", "bnpo", "token_mean", beta=0.04, **clip),
        policy(b, "clipped", "dapo", "token_mean", **clip),
        policy(b, "clipped", "dr_grpo", "sequence_mean_token_sum_norm", length_constant=9, **clip),
        policy(b, "cispo", "cispo", "token_mean", clip_low=1.0, clip_high=0.28),
        policy(b, "gspo", "grpo", mean, level="sequence", **tight),
        policy(b, "gmpo", "grpo", mean, kind=GMPOTrainer, **wide),
    ]
    versions = {"trl": importlib.metadata.version("trl")}
    versions["transformers"] = importlib.metadata.version("transformers")
    expected = {"preferences": preferences, "losses": losses, "distillations": distillations()}
    write(sys.argv[1], versions, b, expected)


if __name__ == "__main__":
    with mock.patch.dict("os.environ", {"TRL_EXPERIMENTAL_SILENCE": "1"}):
        main()
