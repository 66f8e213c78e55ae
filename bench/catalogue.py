"""Every comparison: its sides, and what it is judged by.

A workload's words are explained in `crates/engine/examples/bench_step/workload.rs`. A target is
(what, quotient's upper side, quotient's lower side, at least); `what` is `wall` or `cpu` (against
the fastest side whose label begins so), `decode` (tokens per second after the prompts), `peak` or
`excess` (memory; there at most), `share` (of F/U, of the memory bound, of the machine's peak) or
`seconds` (at most).
"""

from dataclasses import dataclass, field


@dataclass
class Spec:
    """One side: a label, how it is started, and the workload's words."""

    label: str
    kind: str
    words: str
    x: float = 0


@dataclass
class Comparison:
    name: str
    title: str
    # How the page shows it: `sides`, `growth` or `products`.
    show: str
    specs: list
    targets: list = field(default_factory=list)
    # What an x stands for, and what y is divided by.
    axis: str = ""
    per: str = ""

    @property
    def kind(self):
        return self.specs[0].words.split()[1] if self.show != "products" else "products"


OWN, FLAT = "stepwell", "stepwell, flat rows"
OWN16 = "stepwell bf16"
# Layers keep their inputs only and are computed again in the backward.
LEAN, LEAN16 = "stepwell, lean", "stepwell bf16, lean"
TORCH, TORCH16 = "PyTorch f32", "PyTorch bf16 autocast"


def training(name, title, words, targets=()):
    return Comparison(name, title, "sides", [
        Spec(OWN, "own", words), Spec(LEAN, "own", words + " lean"),
        Spec(OWN16, "own", words + " bf16"), Spec(LEAN16, "own", words + " lean bf16"),
        Spec(TORCH, "train float32", words), Spec(TORCH16, "train bfloat16", words),
        # With COMPILE=1 and a C++ compiler; the first step takes minutes.
        Spec(TORCH + ", compiled", "train float32 compile", words),
        Spec(TORCH16 + ", compiled", "train bfloat16 compile", words)], list(targets))


def smol(rows, length):
    words = f"smol sft {rows} p1 1x{length - 1}"
    return training(f"smol_train_{rows}x{length}",
                    f"SmolLM2-135M shape, training {rows} x {length}", words, [
                        ("wall", TORCH, OWN, 2.5), ("wall", TORCH16, OWN16, 1.5),
                        ("peak", LEAN, TORCH, 0.65), ("excess", LEAN, TORCH, 0.25)])


def decode(rows, targets):
    words = f"smol sample {rows} p128 1x64"
    llama = [Spec(f"llama.cpp {kind}", f"llama {kind}", words)
             for kind in (["f32", "f16", "bf16"] if rows <= 8 else [])]
    half = [Spec("PyTorch bf16", "decode bfloat16", words)] if rows == 1 else []
    return Comparison(f"smol_decode_{rows}", f"SmolLM2-135M shape, decode {rows} x (128 + 64)",
                      "sides", [
                          Spec(OWN, "own", words), Spec(OWN16, "own", words + " bf16"),
                          Spec(TORCH, "decode float32", words),
                          *half, *llama], targets)


def grpo(name, title, words, judge, targets):
    return Comparison(name, title, "sides", [
        Spec(OWN, "own", words), Spec(OWN16, "own", words + " bf16"),
        Spec("TRL", f"trl {judge}", words)], targets)


def tree(kind, model, shape, name):
    words = f"{model} {kind} {shape}"
    what = "training" if kind == "rl" else "sampling"
    sides = [Spec(OWN, "own", words), Spec(FLAT, "own", words + " flat")]
    targets = [] if name.endswith("one") else [("share", FLAT, OWN, 0.8)]
    return Comparison(f"tree_{kind}_{name}", f"{model}, {what}, {shape}", "sides", sides, targets)


def growth(name, title, axis, per, points):
    specs = [Spec(f"{axis} {x}", "own", words, x) for x, words in points]
    return Comparison(f"growth_{name}", title, "growth", specs, [], axis, per)


JOB = "32 p29 4x12 1e12 2x33"
LLAMA = [("decode", OWN, "llama.cpp f32", 1.0), ("decode", OWN16, "llama.cpp bf16", 1.0),
         ("decode", OWN16, "llama.cpp f16", 1.0)]

CATALOGUE = [
    Comparison("products", "Products of the training shapes", "products",
               [Spec(OWN, "own", "products")], [("share", "products", "peak", 0.85)]),
    smol(1, 512),
    smol(4, 256),
    decode(1, [("share", OWN, "bound", 0.8), *LLAMA]),
    decode(8, LLAMA),
    decode(32, [("decode", OWN, TORCH, 4.0), ("decode", OWN16, TORCH, 4.0)]),
    grpo("grpo_tiny_110", "GRPO step, 0.85M parameters, 8 x (110 + 64)", "tiny grpo 1 p110 8x64",
         "cpu", [("cpu", "TRL", OWN, 5.0)]),
    grpo("grpo_tiny_1010", "GRPO step, 0.85M parameters, 8 x (1010 + 64)",
         "tiny grpo 1 p1010 8x64", "cpu", [("cpu", "TRL", OWN, 10.0)]),
    grpo("grpo_smol", "GRPO step, SmolLM2-135M shape, 2 x 8 x (43 + 24)", "smol grpo 2 p43 8x24",
         "wall", [("seconds", OWN, "", 2.0), ("seconds", OWN16, "", 2.0)]),
    Comparison("job_train", "job, training step", "sides", [
        Spec(OWN, "own", f"job rl {JOB}"), Spec(FLAT, "own", f"job rl {JOB} flat"),
        Spec(TORCH, "train float32", f"job rl {JOB}")]),
    Comparison("job_sample", "job, sampling", "sides", [
        Spec(OWN, "own", f"job sample {JOB}"), Spec(FLAT, "own", f"job sample {JOB} flat"),
        Spec(TORCH, "decode float32", f"job sample {JOB}")]),
    tree("rl", "mid", "1 p256 16x64", "16x64"),
    tree("rl", "mid", "1 p512 16x32", "16x32"),
    tree("rl", "mid", "1 p64 2x64 2x64 2x64 2x64", "binary"),
    tree("rl", "smol", "1 p64 16x16", "smol"),
    tree("sample", "mid", "4 p256 16x64", "64_leaves"),
    tree("sample", "mid", "4 p512 16x32", "64_leaves_long"),
    tree("sample", "mid", "1 p512 16x32", "16_leaves_one"),
    tree("sample", "smol", "4 p128 16x16", "smol"),
    growth("leaves", "Training, leaves at constant depth", "leaves", "token",
           [(n, f"mid sft 1 p256 {n}x64") for n in (1, 2, 4, 8, 16, 32, 64)]),
    growth("tokens", "Training, tokens of one row", "tokens", "token",
           [(n, f"mid sft 1 p1 1x{n - 1}") for n in (256, 512, 1024, 2048, 4096)]),
    growth("steps", "Training, 1024 tokens cut into steps", "steps", "token",
           [(n, "mid sft 1 p1" + f" 1x{1024 // n}" * n) for n in (1, 4, 16, 64)]),
    growth("depth", "Training, binary trees of steps of 32", "depth", "token",
           [(n, "mid sft 1 p64" + " 2x32" * n) for n in (1, 2, 3, 4, 5, 6)]),
    growth("vocabulary", "Training 512 tokens, vocabulary", "vocabulary", "token",
           [(n, f"mid@{n} sft 1 p1 1x511") for n in (1024, 4096, 16384, 65536)]),
    growth("live", "Sampling 32 tokens, live leaves", "live leaves", "sampled token",
           [(n, f"mid sample {min(n, 4)} p128 {max(n // 4, 1)}x32")
            for n in (1, 4, 8, 16, 32, 64, 128)]),
]
