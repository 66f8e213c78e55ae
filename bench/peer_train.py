"""PyTorch's training step. Usage: peer_train.py DATA FOLDER float32|bfloat16 [compile]

transformers' Llama with sdpa attention, fused AdamW, the logits in f32, no cache; bf16 is autocast
over f32 weights. The micro-batch is the one that ran fastest.
"""

import time

import peer

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from transformers.utils import logging

IMPORTED = peer.resident()
logging.disable_progress_bar()
logging.set_verbosity_error()
torch.set_num_threads(peer.THREADS)


class Training:
    """Flat rows of one length."""

    def __init__(self, model, data, bfloat16):
        self.model, self.bfloat16, self.data = model, bfloat16, data
        self.rows = torch.tensor(data["rows"])
        self.weight = torch.tensor(data["weight"])[:, 1:]
        self.credit = torch.tensor(data["credit"])[:, 1:]
        self.behaviour = torch.tensor(data["behaviour"])[:, 1:]
        self.micro = len(self.rows)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=data["learning_rate"], betas=(0.9, 0.95), eps=1e-8,
            weight_decay=0.0, fused=True)
        model.train()

    def loss(self, part):
        rows = self.rows[part]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(input_ids=rows[:, :-1], use_cache=False).logits
        target, weight = rows[:, 1:], self.weight[part]
        flat = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), reduction="none")
        logprob = -flat.view(target.shape)
        if not self.data["clipped"]:
            return -(weight * logprob).sum()
        credit = self.credit[part]
        # Where nothing trains the weight is 0, and the ratio must not overflow.
        ratio = torch.where(weight > 0, logprob - self.behaviour[part], 0.0).exp()
        bounded = ratio.clamp(0.8, 1.2)
        return -(weight * torch.minimum(ratio * credit, bounded * credit)).sum()

    def accumulate(self):
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in torch.arange(len(self.rows)).split(self.micro):
            loss = self.loss(slice(int(part[0]), int(part[-1]) + 1))
            loss.backward()
            total += loss.item()
        return total

    def calibrate(self):
        found = []
        for micro in [256, 128, 64, 32, 16, 4, 2, 1]:
            if micro <= len(self.rows) <= 16 * micro:
                self.micro = micro
                self.accumulate()
                start = time.perf_counter()
                self.accumulate()
                found.append((time.perf_counter() - start, micro))
        self.micro = min(found)[1]
        self.optimizer.zero_grad(set_to_none=True)
        return {"note": f"micro-batch of {self.micro} rows of {len(self.rows)}"}

    def answer(self, word, _):
        if word == "calibrate":
            return self.calibrate()
        start = time.perf_counter()
        loss = self.accumulate()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0).item()
        self.optimizer.step()
        return {"wall": time.perf_counter() - start, "loss": loss, "norm": norm}


def main():
    data, folder, words = peer.arguments()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa")
    if "compile" in words:
        model = torch.compile(model)
    peer.serve(Training(model, data, "bfloat16" in words).answer, IMPORTED)


main()
