#!/usr/bin/env python3
"""Makes the adapters that crates/model/tests/lora.rs compares stepwell with.

Needs: pip install torch transformers peft
Usage: python tools/make_lora_fixtures.py crates/model/tests/fixtures

The bases are the folders that make_fixtures.py wrote. Each new folder, `lora_*`, is one that
PEFT's save_pretrained wrote (adapter_config.json, adapter_model.safetensors), and beside it what
PEFT computes with base and adapter:
  parity.json         the base's folder, input ids, mean loss, log-probability of every next token
  parity.safetensors  the gradient of the mean loss with respect to every parameter of the adapter
A and B are drawn wide and B is not zero, so that a forgotten scale or a swapped pair shows.
"""

import json
import pathlib
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "lora_llama": ("llama_untied", dict(r=4, lora_alpha=6, target_modules=ALL)),
    "lora_qwen2": ("qwen2", dict(r=2, lora_alpha=5, target_modules=["q_proj", "v_proj"])),
    "lora_qwen3": ("qwen3", dict(r=3, lora_alpha=3, target_modules=["k_proj", "down_proj"])),
}


def make(root, name, base, settings, seed):
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(root / base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **settings)
    model = get_peft_model(model, config).eval()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.7 / parameter.shape[1] ** 0.5)
    ids = torch.randint(0, model.config.vocab_size, (1, 64), generator=generator)
    logits = model(input_ids=ids).logits[0, :-1]
    logprob = torch.log_softmax(logits.float(), -1).gather(1, ids[0, 1:, None])[:, 0]
    loss = -logprob.mean()
    loss.backward()
    folder = root / name
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    # Files leave out the name that an adapter has in memory.
    gradients = {n.replace(".default", ""): p.grad.contiguous() for n, p in trained.items()}
    save_file(gradients, folder / "parity.safetensors")
    record = dict(
        base=base, input_ids=ids[0].tolist(), loss=loss.item(), logprob=logprob.tolist()
    )
    (folder / "parity.json").write_text(json.dumps(record) + "\n")
    print(f"{name}: {len(gradients)} parameters, loss {loss.item():.6f}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    for seed, (name, (base, settings)) in enumerate(CASES.items(), start=31):
        make(root, name, base, settings, seed)


if __name__ == "__main__":
    main()
