"""PyTorch on the GPU. Usage: peer_gpu.py, then a line per measurement, as for `gpu_step`.

transformers' Llama with sdpa attention. Training: f32 weights, fused AdamW, the logits in f32; bf16
is autocast; all rows at once. Sampling: bf16 weights, `generate` with the cache that is named.
`compiled` puts torch.compile around the model's forward.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
# f32 means f32, as on the other side.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False

CONFIG = LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    num_attention_heads=9, num_key_value_heads=3, head_dim=64, max_position_embeddings=8192,
    rope_theta=100000.0, tie_word_embeddings=True, attn_implementation="sdpa")


def model(dtype):
    torch.manual_seed(0)
    made = LlamaForCausalLM(CONFIG).to("cuda", dtype)
    made.config.pad_token_id = 0
    return made


class Training:
    """One optimizer step over rows of one length."""

    def __init__(self, compiled):
        self.model = model(torch.float32).train()
        self.call = torch.compile(self.model) if compiled else self.model
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-5, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0,
            fused=True)

    def step(self, precision, rows, length):
        tokens = torch.randint(0, 49152, (rows, length))
        torch.cuda.synchronize()
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        tokens = tokens.to("cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            logits = self.call(input_ids=tokens, use_cache=False).logits
        flat = logits[:, :-1].float().flatten(0, 1)
        loss = F.cross_entropy(flat, tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        torch.cuda.synchronize()
        wall = time.perf_counter() - start
        return {"wall": wall, "tokens": rows * length, "loss": loss.item()}


class Sampling:
    """`generate`, with a prompt of its own for each row."""

    def __init__(self):
        self.model = model(torch.bfloat16).eval()

    @torch.inference_mode()
    def round(self, rows, prompt, length, cache):
        tokens = torch.randint(0, 49152, (rows, prompt), device="cuda")
        torch.cuda.synchronize()
        start = time.perf_counter()
        extra = {"cache_implementation": "static", "disable_compile": True}
        out = self.model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=True, top_k=0, top_p=1.0,
            max_new_tokens=length, min_new_tokens=length, eos_token_id=None,
            **(extra if cache == "static" else {}))
        torch.cuda.synchronize()
        assert out.shape == (rows, prompt + length), out.shape
        return {"wall": time.perf_counter() - start, "tokens": rows * length}


def main():
    held = {}
    facts = {"ready": True, "device": torch.cuda.get_device_name(), "torch": torch.__version__}
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        kind, precision, *sizes = line.split()
        try:
            if kind in ("train", "compiled"):
                if kind not in held:
                    held[kind] = Training(kind == "compiled")
                answer = held[kind].step(precision, *map(int, sizes))
            else:
                if "sampling" not in held:
                    held["sampling"] = Sampling()
                answer = held["sampling"].round(*map(int, sizes[:3]), sizes[3])
        except Exception as error:
            torch.cuda.empty_cache()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), flush=True)


main()
