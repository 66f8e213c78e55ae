"""Runs both sides in turn and prints one table. Usage: side_by_side.py BINARY FOLDER [ROUNDS]

Every side is a process of its own that is loaded once and waits. A round asks each side for one
repetition, one after the other. CPU time is the process's own clock, read from here for both.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BINARY, FOLDER = sys.argv[1:3]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 7
ONLY = os.environ.get("ONLY", "")
TORCH = [sys.executable, os.path.join(HERE, "pytorch_step.py")]

# Workload: the sides of it, each with a label.
TABLE = {
    "job_train": ["tree", "flat", "torch"],
    "job_sample": ["tree", "flat", "torch"],
    "smol_train_1x512": ["tree", "torch", "bf16"],
    "smol_train_4x256": ["tree", "torch", "bf16"],
    "smol_decode_1": ["tree", "torch"],
    "smol_decode_8": ["tree", "torch"],
    "smol_decode_32": ["tree", "torch"],
}
LABEL = {"tree": "stepwell", "flat": "stepwell, flat rows", "torch": "PyTorch f32",
         "bf16": "PyTorch bf16 autocast"}


class Side:
    """A process that answers lines."""

    def __init__(self, kind, workload):
        if kind in ("tree", "flat"):
            name = workload + ("_flat" if kind == "flat" else "")
            command = [BINARY, "serve", name, FOLDER]
        else:
            command = [*TORCH, workload, FOLDER, "bfloat16" if kind == "bf16" else "float32"]
        self.kind = kind
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Linux: the CPU clock of another process.
        self.clock = (~self.process.pid << 3) | 2
        self.note = self.read().get("note", "")
        self.wall, self.cpu, self.opened, self.first = [], [], [], []

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.kind}: ended with {self.process.wait()}")
        return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.read()

    def status(self, field):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(rf"{field}:\s+(\d+) kB", file.read())[1]) / 1024

    def reset_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
            file.write("5")

    def once(self, record):
        before = time.clock_gettime(self.clock)
        answer = self.ask("run")
        cpu = time.clock_gettime(self.clock) - before
        if record:
            self.wall.append(answer["wall"])
            self.cpu.append(cpu)
            self.opened.append(answer.get("opened", 0.0))
        else:
            self.first.append(answer)
        time.sleep(0.05)


def close(a, b, relative):
    return abs(a - b) <= relative * max(abs(a), abs(b), 1e-3)


def agree(workload, sides, train):
    """Both sides compute the same thing, or nothing is timed."""
    ours, theirs = sides["tree"], sides["torch"]
    if train:
        for a, b in zip(ours.first, theirs.first):
            if not (close(a["loss"], b["loss"], 2e-3) and close(a["norm"], b["norm"], 1e-2)):
                sys.exit(f"{workload}: the sides disagree: {a} against {b}")
        told = ", ".join(f"{a['loss']:.6f}/{b['loss']:.6f}" for a, b in zip(ours.first, theirs.first))
        norm = f"{ours.first[0]['norm']:.6f}/{theirs.first[0]['norm']:.6f}"
        return f"losses of the first steps {told}; gradient norm {norm}"
    a, b = ours.ask("check")["tokens"], theirs.ask("check")["tokens"]
    same = sum(x == y for p, q in zip(a, b) for x, y in zip(p, q))
    total = sum(map(len, b))
    if sum(map(len, a)) != total or same < 0.9 * total:
        sys.exit(f"{workload}: greedy tokens agree at {same} of {total} places")
    return f"greedy tokens agree at {same} of {total} places"


def measure(workload, kinds):
    with open(os.path.join(FOLDER, f"{workload}.json"), "w") as file:
        subprocess.run([BINARY, "data", workload, FOLDER], stdout=file, check=True)
    with open(os.path.join(FOLDER, f"{workload}.json")) as file:
        data = json.load(file)
    train = data["kind"] == "train"
    sides = {kind: Side(kind, workload) for kind in kinds}
    for side in sides.values():
        side.reset_peak()
    for _ in range(3 if train else 1):
        for side in sides.values():
            side.once(record=False)
    told = agree(workload, sides, train)
    for _ in range(ROUNDS):
        for side in sides.values():
            side.once(record=True)
    f_u = data["flat"] / data["unique"]
    print(f"\n{workload}: U {data['unique']}, F {data['flat']}, F/U {f_u:.2f}; {told}")
    print("| side | wall s | best wall s | CPU s | spread of CPU | peak MiB | CPU against stepwell |")
    print("|---|---|---|---|---|---|---|")
    base = statistics.median(sides["tree"].cpu)
    for kind, side in sides.items():
        wall, cpu = statistics.median(side.wall), statistics.median(side.cpu)
        print(f"| {LABEL[kind]} | {wall:.3f} | {min(side.wall):.3f} | {cpu:.3f} | {min(side.cpu):.3f} to {max(side.cpu):.3f} "
              f"| {side.status('VmHWM'):.0f} | {cpu / base:.2f}x |")
    for kind, side in sides.items():
        if any(side.opened):
            opened = statistics.median(side.opened)
            rest = statistics.median(w - o for w, o in zip(side.wall, side.opened))
            print(f"  {LABEL[kind]}: prompts {opened:.3f} s, the rest {rest:.3f} s wall")
        if side.note:
            print(f"  {LABEL[kind]}: {side.note}")
    sys.stdout.flush()
    for side in sides.values():
        side.process.stdin.close()
        side.process.wait()


print(f"{time.strftime('%Y-%m-%d %H:%M')}, load {os.getloadavg()}, medians of {ROUNDS}")
for name, kinds in TABLE.items():
    if re.search(ONLY, name):
        measure(name, kinds)
print(f"\nload at the end {os.getloadavg()}")
