#!/usr/bin/env python3
"""Checks that a folder written by stepwell means the same to transformers.

Needs: pip install torch transformers
Usage: python tools/check_export.py FOLDER [EXPECTED.json]

EXPECTED.json, written by a test of crates/model, holds any of
  text      [string]                 encoded with special tokens off, compared id by id
  ids       [[id]]                   what stepwell encodes each text to
  decoded   [string]                 what stepwell decodes each of ids to
  input_ids [id], logprob [number]   log-probability of every next token, within 1e-4
  messages  [[{role, content}]], prompt_ids [[id]]   the chat template with a generation prompt
Exit code 0 if everything agrees; otherwise 1 and one line per difference.
"""

import json
import pathlib
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-4


def check_model(folder, expected):
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(kind):
            yield f"{kind}: {sorted(report[kind])}"
    if "input_ids" not in expected:
        return
    ids = torch.tensor([expected["input_ids"]])
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits[0, :-1]
    ours = torch.log_softmax(logits, -1).gather(1, ids[0, 1:, None])[:, 0]
    error = (ours - torch.tensor(expected["logprob"])).abs().max().item()
    print(f"largest difference of log-probabilities: {error:.1e}")
    if not error < TOLERANCE:
        yield f"log-probabilities differ by {error}"


def check_tokenizer(tokenizer, expected):
    texts, ids = expected.get("text", []), expected.get("ids", [])
    for text, ours in zip(texts, ids):
        theirs = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if theirs != ours:
            yield f"{text!r}: transformers encodes {theirs}, stepwell {ours}"
    for ours, text in zip(ids, expected.get("decoded", [])):
        theirs = tokenizer.decode(ours)
        if tokenizer.unk_token:
            theirs = theirs.replace(tokenizer.unk_token, "\ufffd")
        # Word tokenizers join quotes closer than the decoder of tokenizer.json can say.
        if "".join(theirs.split()) != "".join(text.split()):
            yield f"{ours}: transformers decodes {theirs!r}, stepwell {text!r}"
    for messages, ours in zip(expected.get("messages", []), expected.get("prompt_ids", [])):
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        theirs = theirs if isinstance(theirs, list) else theirs["input_ids"]
        if theirs != ours:
            yield f"{messages}: transformers' prompt is {theirs}, stepwell's {ours}"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    expected = json.loads(pathlib.Path(sys.argv[2]).read_text()) if len(sys.argv) == 3 else {}
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    print(f"{config.model_type}, {len(tokenizer)} tokens, end {tokenizer.eos_token}")
    differences = list(check_model(folder, expected)) + list(check_tokenizer(tokenizer, expected))
    print("\n".join(differences) or "agrees with transformers")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
