"""Runs comparisons and keeps what was found. Usage: run.py BINARY FOLDER RESULTS [REGEX [ROUNDS]]

Every side is a process of its own that is loaded once and waits. A round asks each side for one
repetition, one after the other, so that a disturbance meets all of them. Before anything is timed
the sides must agree.
"""

import json
import os
import re
import shutil
import sys
import time

from catalogue import CATALOGUE
from machine import describe
from side import Commands

BINARY, FOLDER, RESULTS = sys.argv[1:4]
ONLY = sys.argv[4] if len(sys.argv) > 4 else ""
ROUNDS = int(sys.argv[5]) if len(sys.argv) > 5 else 7


def close(a, b, relative):
    return abs(a - b) <= relative * max(abs(a), abs(b), 1e-3)


def agree_training(ours, other, half):
    """Losses of the first steps and the norm of the first gradient."""
    loose = 5 if half else 1
    for a, b in zip(ours.first, other.first):
        if not close(a["loss"], b["loss"], loose * 2e-3):
            raise RuntimeError(f"{other.label} disagrees: {a} against {b}")
    a, b = ours.first[0], other.first[0]
    if not close(a["norm"], b["norm"], loose * 1e-2):
        raise RuntimeError(f"{other.label} disagrees: {a} against {b}")
    told = ", ".join(f"{a['loss']:.5f}/{b['loss']:.5f}" for a, b in zip(ours.first, other.first))
    return f"losses {told}; gradient norm {a['norm']:.5f}/{b['norm']:.5f}"


def agree_tokens(a, other, half):
    """Greedy tokens; at half precision two near logits may change places, and are only counted."""
    b = other.ask("check")["tokens"]
    same = sum(x == y for p, q in zip(a, b) for x, y in zip(p, q))
    total = sum(map(len, b))
    if sum(map(len, a)) != total or (not half and same < 0.9 * total):
        raise RuntimeError(f"{other.label}: greedy tokens agree at {same} of {total} places")
    return f"greedy tokens agree at {same} of {total} places"


def agree_grpo(first, other):
    """The same attempts have the same gradient."""
    found = other.ask("check " + json.dumps(first["tokens"]))
    if not close(first["norm"], found["norm"], 1e-2):
        raise RuntimeError(f"{other.label} disagrees: {first['norm']} against {found['norm']}")
    return f"gradient norm of the same attempts {first['norm']:.5f}/{found['norm']:.5f}"


def agree_itself(other):
    """Our other precision samples its own attempts, and must train on what it sampled."""
    gap = other.ask("check")["gap"]
    if gap != 0:
        raise RuntimeError(f"{other.label}: sampler and trainer differ by {gap}")
    return "trains on the log-probabilities that it sampled, bit for bit"


def agree(comparison, sides):
    """One line per side that can be compared with the first; raises where one disagrees."""
    if comparison.show != "sides":
        return []
    ours, told = sides[0], []
    kind = comparison.kind
    if kind in ("sft", "rl"):
        for _ in range(3):
            for side in sides:
                side.once(record=False)
    first = ours.ask("check") if kind in ("sample", "grpo") else None
    for side, spec in list(zip(sides, comparison.specs))[1:]:
        half = any(word in spec.label for word in ("bf16", "f16"))
        if spec.words.endswith(" flat") and kind in ("sft", "rl"):
            # A flat row trains a shared step once per leaf: another loss, of no interest here.
            continue
        if kind in ("sft", "rl"):
            line = agree_training(ours, side, half)
        elif kind == "grpo" and spec.kind == "own":
            line = agree_itself(side)
        elif kind == "grpo":
            line = agree_grpo(first, side)
        else:
            line = agree_tokens(first["tokens"], side, half)
        told.append(f"{side.label}: {line}")
    return told


def found(side, spec, facts):
    answers = side.answers
    value = {
        **facts, "label": side.label, "words": spec.words, "x": spec.x, "cpu": side.cpu,
        "wall": [answer["wall"] for answer in answers],
        "opened": [answer.get("opened", 0.0) for answer in answers],
        "peak": side.status("VmHWM"), "imported": side.imported, "note": side.note,
    }
    if "rates" in answers[0]:
        value["rates"] = [answer["rates"] for answer in answers]
        value["peaks"] = [answer["peaks"] for answer in answers]
    return value


def calibrate(comparison, sides):
    """Every peer looks for its best settings."""
    for side, spec in zip(sides, comparison.specs):
        if spec.kind != "own":
            side.note = side.ask("calibrate").get("note", "")


def prepare(comparison, sides):
    """Brings the sides to where a repetition can be timed; what they agreed on."""
    # A sampling loop is checked as it is timed; an optimizer step is checked on fresh weights.
    if comparison.kind == "sample":
        calibrate(comparison, sides)
    told = agree(comparison, sides)
    if comparison.kind != "sample":
        calibrate(comparison, sides)
    for side in sides:
        side.reset_peak()
    for side in sides:
        side.once(record=False)
    return told


def possible(spec, commands):
    """Whether the engine has the precision, and the machine the compiler, that a side needs."""
    if spec.words.endswith(" bf16"):
        return "bf16" in commands.precisions
    compiler = os.environ.get("COMPILE") and shutil.which("g++") is not None
    return bool(compiler) or not spec.kind.endswith(" compile")


def measure(comparison, commands):
    """One comparison; sides that cannot run here are left out."""
    comparison.specs = [spec for spec in comparison.specs if possible(spec, commands)]
    load, when, sides = os.getloadavg()[0], time.strftime("%Y-%m-%d %H:%M"), []
    try:
        for spec in comparison.specs:
            log = os.path.join(FOLDER, f"{comparison.name}.{len(sides)}.log")
            sides.append(commands.start(spec, log))
        told = prepare(comparison, sides)
        for _ in range(ROUNDS):
            for side in sides:
                side.once(record=True)
        products = comparison.show == "products"
        facts = [{} if products else commands.facts(spec.words) for spec in comparison.specs]
        return {
            "name": comparison.name, "title": comparison.title, "rounds": ROUNDS, "agree": told,
            "when": when, "load": [load, os.getloadavg()[0]],
            "sides": [found(*each) for each in zip(sides, comparison.specs, facts)],
        }
    finally:
        for side in sides:
            side.close()


def main():
    commands = Commands(BINARY, FOLDER)
    results = {}
    if os.path.exists(RESULTS):
        with open(RESULTS) as file:
            results = json.load(file)
    results["machine"] = describe()
    chosen = [c for c in CATALOGUE if re.search(ONLY, c.name)]
    failed = []
    for comparison in chosen:
        start = time.time()
        try:
            results[comparison.name] = measure(comparison, commands)
        except (RuntimeError, BrokenPipeError) as error:
            failed.append(f"{comparison.name}: {error}")
            print(f"{comparison.name}: not measured: {error}", file=sys.stderr, flush=True)
            continue
        with open(RESULTS, "w") as file:
            json.dump(results, file, indent=1)
        ours = results[comparison.name]["sides"][0]
        print(f"{comparison.name}: {ours['label']} {sorted(ours['wall'])[ROUNDS // 2]:.3f} s wall; "
              f"all took {time.time() - start:.0f} s", flush=True)
    if failed or not chosen:
        sys.exit("\n".join(failed) or f"no comparison matches {ONLY}; see catalogue.py")


main()
