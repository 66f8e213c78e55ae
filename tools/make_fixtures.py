#!/usr/bin/env python3
"""Makes the small models that crates/model/tests/parity.rs compares stepwell with.

Needs: pip install torch transformers
Usage: python tools/make_fixtures.py crates/model/tests/fixtures

Each folder is a real Hugging Face folder (config.json, model.safetensors, tokenizer.json,
tokenizer_config.json) of random weights, and beside it what transformers computes with it:
  parity.json         input ids, mean loss, log-probability of every next token, greedy tokens
  parity.safetensors  the gradient of the mean loss with respect to every parameter
Weights are drawn wider than an initialisation would be, norms and biases too, so that a
forgotten norm, bias or scale changes the loss and is not hidden near 1 or 0.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SHAPE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)


def families():
    common = dict(SHAPE, intermediate_size=48, max_position_embeddings=256)
    default = {"rope_type": "default", "rope_theta": 10000.0}
    linear = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    tied, untied = dict(tie_word_embeddings=True), dict(tie_word_embeddings=False)
    return {
        "llama_tied": (LlamaForCausalLM, LlamaConfig(rope_parameters=default, **tied, **common)),
        "llama_untied": (LlamaForCausalLM, LlamaConfig(rope_parameters=LLAMA3, **untied, **common)),
        "qwen2": (Qwen2ForCausalLM, Qwen2Config(rope_parameters=linear, **tied, **common)),
        "qwen3": (
            Qwen3ForCausalLM,
            Qwen3Config(rope_parameters=default, head_dim=16, **tied, **common),
        ),
    }


def tokenizer():
    """Byte-level BPE with a dozen merges: 256 bytes, the merges, three control tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=272,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(["the cat sat on the mat, and then the other cat"] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<|endoftext|>"],
        chat_template=TEMPLATE,
    )


def randomise(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                parameter.copy_(1.0 + 0.2 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise * 1.5 / parameter.shape[1] ** 0.5)


def measure(model, ids):
    logits = model(input_ids=ids).logits[0, :-1]
    logprob = torch.log_softmax(logits.float(), -1).gather(1, ids[0, 1:, None])[:, 0]
    loss = -logprob.mean()
    model.zero_grad()
    loss.backward()
    gradients = {n: p.grad.contiguous().clone() for n, p in model.named_parameters()}
    return loss.item(), logprob.tolist(), gradients


def greedy(model, prompt, count):
    """Greedy tokens and the smallest lead of the best over the second logit."""
    ids, lead = list(prompt), float("inf")
    with torch.no_grad():
        for _ in range(count):
            best = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
            lead = min(lead, (best.values[0] - best.values[1]).item())
            ids.append(best.indices[0].item())
    return ids[len(prompt):], lead


def make(folder, build, config, seed, words):
    config.vocab_size = len(words)
    config.eos_token_id = words.convert_tokens_to_ids("<|im_end|>")
    config.bos_token_id = None
    generator = torch.Generator().manual_seed(seed)
    model = build(config).eval()
    randomise(model, generator)
    ids = torch.randint(0, config.vocab_size, (1, 96), generator=generator)
    loss, logprob, gradients = measure(model, ids)
    prompt = ids[0, :8].tolist()
    continuation, lead = greedy(model, prompt, 24)
    # A near tie would test luck, not agreement.
    assert lead > 1e-3, f"{folder}: greedy lead {lead}, take another seed"
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    words.save_pretrained(folder)
    save_file(gradients, folder / "parity.safetensors")
    record = dict(
        input_ids=ids[0].tolist(), loss=loss, logprob=logprob, prompt=prompt, greedy=continuation
    )
    (folder / "parity.json").write_text(json.dumps(record) + "\n")
    print(f"{folder.name}: loss {loss:.6f}, smallest greedy lead {lead:.4f}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    words = tokenizer()
    for seed, (name, (build, config)) in enumerate(families().items(), start=11):
        make(root / name, build, config, seed, words)


if __name__ == "__main__":
    main()
