"""The PyTorch side of run.sh: one training step or one sampling round per line read.

Usage: pytorch_step.py WORKLOAD FOLDER [float32|bfloat16]
"""

import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


class Training:
    """Flat rows of one length, cut into the micro-batch that ran fastest."""

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
        return f"micro-batch of {self.micro} rows"

    def run(self, _):
        start = time.perf_counter()
        loss = self.accumulate()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0).item()
        self.optimizer.step()
        return {"wall": time.perf_counter() - start, "loss": loss, "norm": norm}


class Own:
    """A decoding loop by hand: preallocated keys and values, fused q/k/v and gate/up."""

    def __init__(self, model, longest):
        config, inner = model.config, model.model
        self.heads, self.kv = config.num_attention_heads, config.num_key_value_heads
        self.dim = inner.layers[0].self_attn.head_dim
        self.epsilon, self.norm = config.rms_norm_eps, inner.norm.weight
        self.embedding, self.head = inner.embed_tokens.weight, model.lm_head.weight
        self.layers = []
        for layer in inner.layers:
            a, m = layer.self_attn, layer.mlp
            self.layers.append((
                layer.input_layernorm.weight,
                torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]), a.o_proj.weight,
                layer.post_attention_layernorm.weight,
                torch.cat([m.gate_proj.weight, m.up_proj.weight]), m.down_proj.weight))
        cos, sin = inner.rotary_emb(self.embedding, torch.arange(longest)[None])
        self.cos, self.sin, self.longest = cos[0], sin[0], longest

    def start(self, rows):
        shape = (rows, self.kv, self.longest, self.dim)
        self.cache = [(torch.empty(shape), torch.empty(shape)) for _ in self.layers]
        self.at = 0

    def rms(self, x, weight):
        return F.rms_norm(x, weight.shape, weight, self.epsilon)

    def turn(self, x, cos, sin):
        left, right = x.chunk(2, -1)
        return x * cos + torch.cat([-right, left], -1) * sin

    def run(self, tokens):
        """Logits after the last token; the cache grows."""
        (rows, length), at, end = tokens.shape, self.at, self.at + tokens.shape[1]
        cos, sin = self.cos[at:end], self.sin[at:end]
        mask = None
        if length > 1 and at > 0:
            mask = torch.ones(length, end, dtype=torch.bool).tril(at)
        x = self.embedding[tokens]
        for (first, qkv, o, second, gate_up, down), (keys, values) in zip(self.layers, self.cache):
            heads = F.linear(self.rms(x, first), qkv)
            heads = heads.view(rows, length, -1, self.dim).transpose(1, 2)
            q, k, v = heads.split([self.heads, self.kv, self.kv], 1)
            keys[:, :, at:end] = self.turn(k, cos, sin)
            values[:, :, at:end] = v
            seen = F.scaled_dot_product_attention(
                self.turn(q, cos, sin), keys[:, :, :end], values[:, :, :end], attn_mask=mask,
                is_causal=length > 1 and at == 0, enable_gqa=self.heads != self.kv)
            x = x + F.linear(seen.transpose(1, 2).flatten(2), o)
            gate, up = F.linear(self.rms(x, second), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down)
        self.at = end
        return F.linear(self.rms(x[:, -1], self.norm), self.head)


class Library:
    """transformers' own forward and dynamic cache, without the overhead of `generate`."""

    def __init__(self, model, longest):
        self.model = model

    def start(self, rows):
        self.cache = DynamicCache()

    def run(self, tokens):
        out = self.model(input_ids=tokens, past_key_values=self.cache, use_cache=True,
                         logits_to_keep=1)
        return out.logits[:, -1].float()


class Sampling:
    """Rows side by side; every row has its prompt and, in the job, its observation."""

    def __init__(self, model, data, bfloat16):
        model.eval()
        self.model, self.data, self.bfloat16 = model, data, bfloat16
        each = data["rows"] // len(data["prompts"])
        self.prompts = torch.tensor(data["prompts"]).repeat_interleave(each, 0)
        self.seen = None
        if data["observations"]:
            each = data["rows"] // len(data["observations"])
            self.seen = torch.tensor(data["observations"]).repeat_interleave(each, 0)
        longest = self.prompts.shape[1] + data["step"] + data["last"] + 64
        with torch.inference_mode():
            self.loops = {"by hand": Own(model, longest), "transformers": Library(model, longest)}
        self.loop = self.loops["by hand"]

    def next(self, logits, greedy):
        if greedy:
            return logits.argmax(-1, keepdim=True)
        logprob = logits.log_softmax(-1)
        token = torch.multinomial(logprob.exp(), 1)
        logprob.gather(1, token)
        return token

    def calibrate(self):
        found = []
        for name, loop in self.loops.items():
            self.loop = loop
            self.run("run")
            found.append((self.run("run")["wall"], name))
        self.loop = self.loops[min(found)[1]]
        return f"loop: {min(found)[1]} ({', '.join(f'{n} {t:.2f} s' for t, n in found)})"

    @torch.inference_mode()
    def run(self, command):
        start = time.perf_counter()
        greedy, loop, steps = command == "check", self.loop, []
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loop.start(len(self.prompts))
            logits = loop.run(self.prompts)
            opened = time.perf_counter() - start
            for at in range(self.data["step"]):
                token = self.next(logits, greedy)
                steps.append(token)
                if at + 1 < self.data["step"]:
                    logits = loop.run(token)
            if self.seen is not None:
                # The step's last token and the observation in one pass.
                logits = loop.run(torch.cat([token, self.seen], 1))
                for at in range(self.data["last"]):
                    token = self.next(logits, greedy)
                    steps.append(token)
                    if at + 1 < self.data["last"]:
                        logits = loop.run(token)
        wall = time.perf_counter() - start
        if greedy:
            return {"tokens": torch.cat(steps, 1).tolist()}
        return {"wall": wall, "opened": opened}


def resident():
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def main():
    imported = resident()
    workload, folder = sys.argv[1:3]
    dtype = sys.argv[3] if len(sys.argv) > 3 else "float32"
    with open(os.path.join(folder, f"{workload}.json")) as file:
        data = json.load(file)
    name = "job" if workload.startswith("job") else "smol"
    model = AutoModelForCausalLM.from_pretrained(
        os.path.join(folder, name), dtype=torch.float32, attn_implementation="sdpa")
    worker = {"train": Training, "sample": Sampling}[data["kind"]](
        model, data, dtype == "bfloat16")
    note = f"{worker.calibrate()}; {imported} MiB after its imports"
    print(json.dumps({"ready": True, "note": note}), flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.run(line.strip())), flush=True)


main()
