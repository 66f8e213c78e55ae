#!/usr/bin/env python3
"""Checks that an adapter which stepwell merged means the same as one that PEFT merges.

Needs: pip install torch transformers peft
Usage: python tools/check_merged.py BASE ADAPTER MERGED

BASE is the recipe's model folder, ADAPTER and MERGED are written by
  stepwell export RUN --format peft ADAPTER
  stepwell export RUN --format huggingface MERGED
Exit code 0 if transformers loads MERGED whole and every log-probability of a text of random tokens
is within 1e-4 of PEFT's; otherwise 1 and a line per difference.
"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def logprobs(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model.eval()(input_ids=ids).logits, -1)


def differences(base, adapter, merged):
    alone = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ours, report = AutoModelForCausalLM.from_pretrained(
        merged, dtype=torch.float32, output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(kind):
            yield f"{kind}: {sorted(report[kind])}"
    length = min(64, alone.config.max_position_embeddings)
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(alone.config.vocab_size, (2, length), generator=draw)
    before = logprobs(alone, ids)
    theirs = logprobs(PeftModel.from_pretrained(alone, adapter).merge_and_unload(), ids)
    error = (theirs - logprobs(ours, ids)).abs().max().item()
    moved = (theirs - before).abs().max().item()
    print(f"largest difference of log-probabilities: {error:.1e}, of the adapter: {moved:.1e}")
    if not error < TOLERANCE:
        yield f"log-probabilities differ by {error}"
    if moved < 10 * TOLERANCE:
        yield "the adapter changes hardly anything: this check could not fail"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    found = list(differences(*sys.argv[1:]))
    print("\n".join(found) or "agrees with PEFT")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
