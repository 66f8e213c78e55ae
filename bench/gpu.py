"""Our engine beside PyTorch on one GPU. Usage: gpu.py BINARY RESULTS [ROUNDS [compiled]]

BINARY is a built example `gpu_step`. Both sides are loaded once and wait; a round asks each for one
repetition of one measurement, one after the other, so that a disturbance meets both. The first of
each is not counted. Medians and spreads go to RESULTS as JSON and to the terminal as a table.
`compiled` also measures PyTorch under torch.compile: minutes more.
"""

import json
import statistics
import subprocess
import sys
import time

BINARY, RESULTS = sys.argv[1:3]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 5
SHAPES = ["1 512", "4 256", "16 1024"]
TRAINING = [
    (f"train {precision} {shape}", [f"train {precision} {shape}"])
    for precision in ("bf16", "f32") for shape in SHAPES
]
SAMPLING = [
    (f"decode bf16 {rows} 128 64",
     [f"decode bf16 {rows} 128 64 dynamic", f"decode bf16 {rows} 128 64 static"])
    for rows in (1, 8, 32, 256)
]
TREES = [
    (f"{kind} {precision} 16 512 64", [])
    for precision in ("bf16", "f32") for kind in ("tree", "flat")
] + [("fork bf16 256 128 64", [])]
COMPILED = [("train bf16 16 1024", ["compiled bf16 16 1024"]),
            ("train bf16 1 512", ["compiled bf16 1 512"])]


class Side:
    def __init__(self, command):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.read()

    def read(self):
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        return {"error": f"ended with {self.process.wait()}"}

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"error": "ended"}
        return self.read()


def measured(sides, questions):
    """Walls per question, in turn; the first round warms up."""
    walls = {question: [] for question in questions}
    tokens, errors = {}, {}
    for turn in range(ROUNDS + 1):
        for question in questions:
            if question in errors:
                continue
            side, words = question
            answer = sides[side].ask(words)
            if "error" in answer:
                errors[question] = answer["error"]
            elif turn > 0:
                walls[question].append(answer["wall"])
                tokens[question] = answer["tokens"]
    return walls, tokens, errors


def main():
    sides = {"ours": Side([BINARY]), "torch": Side([sys.executable, "bench/peer_gpu.py"])}
    ready = {name: side.ready for name, side in sides.items()}
    print(json.dumps(ready), flush=True)
    results = {"date": time.strftime("%Y-%m-%d"), "sides": ready, "measured": []}
    last = COMPILED if "compiled" in sys.argv else []
    for ours, others in TRAINING + SAMPLING + TREES + last:
        questions = [("ours", ours)] + [("torch", other) for other in others]
        walls, tokens, errors = measured(sides, questions)
        for question in questions:
            side, words = question
            row = {"side": side, "what": words, "error": errors.get(question)}
            if walls[question]:
                middle = statistics.median(walls[question])
                row.update(seconds=middle, least=min(walls[question]), most=max(walls[question]),
                           rate=tokens[question] / middle, rounds=len(walls[question]))
            results["measured"].append(row)
            rate = f"{row['rate']:12.0f} tokens/s" if "rate" in row else row["error"]
            spread = f"{row['seconds']:9.4f} s ({row['least']:.4f} to {row['most']:.4f})" \
                if "rate" in row else ""
            print(f"{side:6} {row['what']:36} {rate} {spread}", flush=True)
        with open(RESULTS, "w") as file:
            json.dump(results, file, indent=1)


main()
