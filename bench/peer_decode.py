"""PyTorch's sampling round. Usage: peer_decode.py DATA FOLDER float32|bfloat16

Rows side by side, all of one length, so nothing is padded. Two loops are tried and the faster one
is timed: transformers' own forward with its dynamic cache, without the overhead of `generate`; and
a loop by hand with preallocated keys and values and fused q/k/v and gate/up products. In bfloat16
the weights, keys and values are.
"""

import time

import peer

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache
from transformers.utils import logging

IMPORTED = peer.resident()
logging.disable_progress_bar()
logging.set_verbosity_error()
torch.set_num_threads(peer.THREADS)


class Own:
    """A decoding loop by hand."""

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
        self.cache = [[self.embedding.new_empty(shape) for _ in "kv"] for _ in self.layers]
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
        return F.linear(self.rms(x[:, -1], self.norm), self.head).float()


class Library:
    """transformers' own forward and dynamic cache."""

    def __init__(self, model, _):
        self.model = model

    def start(self, _):
        self.cache = DynamicCache()

    def run(self, tokens):
        out = self.model(input_ids=tokens, past_key_values=self.cache, use_cache=True,
                         logits_to_keep=1)
        return out.logits[:, -1].float()


class Sampling:
    """Every row has its prompt, then sampled tokens and observations level by level."""

    def __init__(self, model, data):
        model.eval()
        self.model, self.rows = model, data["rows"]
        self.prompts = self.each(data["prompts"])
        self.levels = [
            level.get("sampled") or self.each(level["observed"]) for level in data["levels"]]
        tokens = [x if isinstance(x, int) else x.shape[1] for x in self.levels]
        self.longest = self.prompts.shape[1] + sum(tokens)
        with torch.inference_mode():
            self.loop = Library(model, self.longest)

    def each(self, pieces):
        """A node's tokens, for every row below it."""
        return torch.tensor(pieces).repeat_interleave(self.rows // len(pieces), 0)

    def next(self, logits, greedy):
        if greedy:
            return logits.argmax(-1, keepdim=True)
        logprob = logits.log_softmax(-1)
        token = torch.multinomial(logprob.exp(), 1)
        logprob.gather(1, token)
        return token

    def calibrate(self):
        found = {}
        with torch.inference_mode():
            loops = {"by hand": Own(self.model, self.longest), "transformers": self.loop}
        for name, loop in loops.items():
            self.loop = loop
            self.round(False)
            found[name] = self.round(False)["wall"]
        best = min(found, key=found.get)
        self.loop = loops[best]
        told = ", ".join(f"{name} {wall:.2f} s" for name, wall in found.items())
        return {"note": f"loop: {best} ({told})"}

    @torch.inference_mode()
    def round(self, greedy):
        start = time.perf_counter()
        steps = []
        self.loop.start(self.rows)
        logits = self.loop.run(self.prompts)
        opened = time.perf_counter() - start
        for level in self.levels:
            if not isinstance(level, int):
                # The last sampled token and the observation in one pass.
                logits = self.loop.run(torch.cat([*steps[-1:], level], 1))
                continue
            for at in range(level):
                if logits is None:
                    logits = self.loop.run(steps[-1])
                steps.append(self.next(logits, greedy))
                logits = None
        wall = time.perf_counter() - start
        if greedy:
            return {"tokens": torch.cat(steps, 1).tolist()}
        return {"wall": wall, "opened": opened}

    def answer(self, word, _):
        return self.calibrate() if word == "calibrate" else self.round(word == "check")


def main():
    data, folder, words = peer.arguments()
    dtype = torch.bfloat16 if "bfloat16" in words else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    peer.serve(Sampling(model, data).answer, IMPORTED)


main()
