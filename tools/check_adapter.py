#!/usr/bin/env python3
"""Checks that an adapter written by stepwell means the same to PEFT.

Needs: pip install torch transformers peft
Usage: python tools/check_adapter.py BASE ADAPTER EXPECTED.json

EXPECTED.json, written by a test of crates/model, holds input_ids and the logprob of every next
token. Exit code 0 if PEFT loads every tensor and agrees within 1e-4; otherwise 1 and a line.
"""

import json
import pathlib
import sys

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def differences(base, adapter, expected):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.tensor([expected["input_ids"]])
    with torch.no_grad():
        alone = model.eval()(input_ids=ids).logits
        model = PeftModel.from_pretrained(model, adapter).eval()
        logits = model(input_ids=ids).logits
    written = load_file(pathlib.Path(adapter) / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(model)
    if set(written) != set(loaded):
        yield f"tensors differ: {sorted(set(written) ^ set(loaded))}"
    for name in set(written) & set(loaded):
        if not torch.equal(written[name], loaded[name]):
            yield f"{name} was not loaded as it was written"
    if torch.allclose(alone, logits, atol=1e-3):
        yield "the adapter changes nothing: this check could not fail"
    theirs = torch.log_softmax(logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
    error = (theirs - torch.tensor(expected["logprob"])).abs().max().item()
    print(f"largest difference of log-probabilities: {error:.1e}")
    if not error < TOLERANCE:
        yield f"log-probabilities differ by {error}"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    base, adapter, expected = sys.argv[1:]
    found = list(differences(base, adapter, json.loads(pathlib.Path(expected).read_text())))
    print("\n".join(found) or "agrees with PEFT")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
