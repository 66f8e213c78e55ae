"""Compares the log-probabilities of a run's record with those that transformers computes.

Usage: python3 check_record.py MODEL_FOLDER TREES.jsonl
The weights that wrote the trees must be those of the folder: train with a learning rate of 0.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def paths(steps):
    inner = {step["parent"] for step in steps if step["step"] > 0}
    for leaf in (step for step in steps if step["step"] not in inner):
        path = [leaf]
        while path[-1]["step"] != 0:
            path.append(steps[path[-1]["parent"]])
        yield path[::-1]


def compare(model, path):
    tokens = [token for step in path for token in step["tokens"]]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    logprobs = torch.log_softmax(logits, -1)
    place, largest, count = 0, 0.0, 0
    for step in path:
        for token, recorded in zip(step["tokens"], step["logprobs"]):
            if step["origin"] == "policy":
                largest = max(largest, abs(logprobs[place - 1, token].item() - recorded))
                count += 1
            place += 1
    return largest, count


def main():
    folder, trees = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    largest, count = 0.0, 0
    with open(trees) as lines:
        for line in lines:
            for path in paths(json.loads(line)["steps"]):
                difference, compared = compare(model, path)
                largest, count = max(largest, difference), count + compared
    print(f"{count} tokens, largest difference of log-probabilities: {largest:.1e}")
    return 0 if count > 0 and largest < TOLERANCE else 1


sys.exit(main())
