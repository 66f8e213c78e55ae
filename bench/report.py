"""Fills the page's places with what was found. Usage: report.py RESULTS PAGE OUT

A place is a line `{{targets}}`, `{{sides REGEX}}`, `{{memory}}`, `{{products}}`, `{{growth}}`,
`{{agreement}}`, `{{settings}}`, `{{machine}}` or `{{peaks}}`. Plots are written beside OUT.
"""

import json
import os
import re
import sys
from statistics import median

import figures
import plot
from catalogue import CATALOGUE
from figures import MIB


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def targets(results, _):
    rows = []
    for comparison, asked, got, met in figures.judgements(results):
        word = "not measured" if met is None else ("yes" if met else "**no**")
        rows.append((comparison.title, asked, got or "", word))
    return table(["comparison", "target", "measured", "met"], rows)


def facts(result):
    first = result["sides"][0]
    u, f = first["unique"], first["flat"]
    words = f"{result['title']}<br>" if u == f else f"{result['title']}<br>U {u}, F {f}, "
    return f"{words}F/U {f / u:.2f}"


def rate(name, s):
    """Tokens per second: after the prompts where steps are sampled, else of the whole step."""
    kind = s["words"].split()[1]
    if kind == "sample":
        return f"{figures.decode_rate(s):.0f}"
    return f"{s['unique'] / median(s['wall']):.0f}" if kind in ("sft", "rl") else ""


def sides(results, words):
    rows = []
    for comparison in CATALOGUE:
        if comparison.show != "sides" or not re.search(words, comparison.name):
            continue
        result = results.get(comparison.name)
        if not result:
            rows.append((comparison.title, "not measured", *[""] * 6))
            continue
        base = result["sides"][0]
        for at, s in enumerate(result["sides"]):
            against = f"{figures.ratio(s, base, 'wall'):.2f}x / {figures.ratio(s, base, 'cpu'):.2f}x"
            rows.append((
                facts(result) if at == 0 else "", s["label"], f"{median(s['wall']):.3f}",
                f"{median(s['cpu']):.3f}", f"{min(s['cpu']):.3f} to {max(s['cpu']):.3f}",
                f"{s['peak']:.0f}", rate(comparison.name, s), against))
    return table(["comparison", "side", "wall s", "CPU s", "range of CPU s", "peak MiB", "tok/s",
                  "wall / CPU against stepwell"], rows)


def memory(results, _):
    rows = []
    for comparison in CATALOGUE:
        result = results.get(comparison.name)
        if not result or not any(t[0] == "excess" for t in comparison.targets):
            continue
        for at, s in enumerate(result["sides"]):
            rows.append((
                result["title"] if at == 0 else "", s["label"], f"{s['peak']:.0f}", s["imported"],
                f"{16 * s['parameters'] / MIB:.0f}", f"{figures.beyond(s):.0f}"))
    head = ["comparison", "side", "peak MiB", "imports alone", "16 bytes per parameter", "beyond"]
    return table(head, rows)


def products(results, _):
    if "products" not in results:
        return "Not measured."
    found = {}
    for name, threads, speed, share in figures.product_shares(results):
        found.setdefault(name, {})[threads] = f"{speed / 1e9:.0f} ({share:.0%})"
    rows = [(name, *[by[threads] for threads in sorted(by)]) for name, by in found.items()]
    return table(["outputs x inputs, product", "1 thread, GFLOP/s", "2 threads, GFLOP/s"], rows)


def peaks(results, _):
    found = figures.peaks(results)
    if not found:
        return "Not measured."
    names = {"avx512": "f32, 16 lanes, GFLOP/s", "avx2": "f32, 8 lanes, GFLOP/s",
             "bf16": "bf16 pairs, GFLOP/s", "read": "memory read, GB/s"}
    rows = [(text, *[f"{found[f'{name}_{t}'] / 1e9:.0f}" for t in (1, 2)])
            for name, text in names.items() if f"{name}_1" in found]
    return table(["peak", "1 thread", "2 threads"], rows)


def growth(results, _):
    rows = []
    for comparison in CATALOGUE:
        result = results.get(comparison.name)
        if comparison.show != "growth" or not result:
            continue
        first = None
        for at, s in enumerate(result["sides"]):
            each = plot.each(comparison, s)
            first = first or each
            rows.append((result["title"] if at == 0 else "", f"{s['x']:g}", s["unique"],
                         f"{median(s['wall']):.3f}", f"{each:.0f}", f"{each / first:.2f}"))
    return table(["curve", "at", "U", "wall s", "µs per token", "of the first"], rows)


def named(key):
    def of(results, _):
        lines = []
        for comparison in CATALOGUE:
            result = results.get(comparison.name)
            if not result or comparison.show != "sides":
                continue
            told = result["agree"] if key == "agree" else [
                f"{s['label']}: {s['note']}" for s in result["sides"] if s["note"]]
            lines += [f"- {result['title']}. {line}" for line in told]
        return "\n".join(lines)
    return of


def machine(results, _):
    m = results["machine"]
    measured = [r for r in results.values() if "load" in r]
    loads = [load for r in measured for load in r["load"]]
    rounds = sorted({r["rounds"] for r in measured})
    versions = ", ".join(f"{name} {v}" for name, v in m["versions"].items())
    return (
        f"Measured {m['date']} on {m['cores']} cores of {m['cpu']} ({m['family']}; "
        f"{', '.join(m['flags'])}) with {m['memory']:.0f} GiB, {m['system']}; load "
        f"{min(loads):.1f} to {max(loads):.1f}. Medians of {' or '.join(map(str, rounds))}. "
        f"Peers: {versions}; their OpenMP threads wait by: {m['waiting'].lower()}.")


PLACES = {"targets": targets, "sides": sides, "memory": memory, "products": products,
          "growth": growth, "agreement": named("agree"), "settings": named("note"),
          "machine": machine, "peaks": peaks}


def main():
    source, page, out = sys.argv[1:]
    with open(source) as file:
        results = json.load(file)
    with open(page) as file:
        text = file.read()

    def fill(match):
        name, _, words = match[1].partition(" ")
        return PLACES[name](results, words)

    pictures = plot.pictures(results)

    def drawn(line):
        """A line that shows a plot stays where there is something to plot."""
        shown = re.search(r"\]\((performance-.+?\.svg)\)", line)
        return not shown or shown[1] in pictures

    text = "\n".join(filter(drawn, text.split("\n")))
    with open(out, "w") as file:
        file.write(re.sub(r"\{\{(.+?)\}\}", fill, text))
    for name, picture in pictures.items():
        with open(os.path.join(os.path.dirname(out), name), "w") as file:
            file.write(picture)


main()
