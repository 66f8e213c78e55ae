"""Writes the tasks and the worked attempts of recipes/python_functions.toml beside this file.

A question names a small function of two whole numbers and a constant; no held-out question is a
training question. Of the worked attempts half try their formula first, and six of ten answer with a
formula that is wrong: there is something left to learn.
"""
import json
import pathlib
import random

FOLDER = pathlib.Path(__file__).parent
FORMS = [
    ("a plus b plus {c}", "a + b + {c}", "a + b - {c}"),
    ("a times {c} plus b", "a * {c} + b", "a + {c} * b"),
    ("{c} minus a", "{c} - a", "a - {c}"),
    ("the larger of a and {c}", "max(a, {c})", "min(a, {c})"),
    ("the smaller of b and {c}", "min(b, {c})", "max(b, {c})"),
    ("the remainder of a by {c}", "a % {c}", "a // {c}"),
]
ARGUMENTS = [(0, 0), (3, 5), (17, 2), (-4, 9), (100, 31), (8, -60), (1234, 777)]


def task(text, code, c):
    formula = code.format(c=c)
    cases = [{"input": [a, b], "output": eval(formula, {"a": a, "b": b})} for a, b in ARGUMENTS]
    question = "Return " + text.format(c=c) + "."
    name = text.split("{")[0].strip().replace(" ", "_") or "minus"
    return {"id": f"{name}_{c}", "question": question, "function": "f", "cases": cases}


def talk(draw, question, formula):
    turns = [{"role": "user", "content": question + "\n"}]
    if draw.random() < 0.5:
        program = "a, b = 7, 2\n" + formula
        printed = eval(formula, {"a": 7, "b": 2})
        turns.append({"role": "assistant", "content": f"<python>{program}</python>"})
        turns.append({"role": "tool", "content": f" <result>{printed}</result>\n"})
    answer = f"<answer>def f(a, b):\n    return {formula}</answer>"
    turns.append({"role": "assistant", "content": answer})
    return {"messages": turns}


def write(name, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (FOLDER / name).write_text(text)


def main():
    draw = random.Random(1)
    train, held_out, talks = [], [], []
    for text, right, wrong in FORMS:
        for c in range(2, 100):
            own = task(text, right, c)
            if draw.random() < 0.15:
                held_out.append(own)
                continue
            train.append(own)
            formula = right if draw.random() < 0.4 else wrong
            talks.append(talk(draw, own["question"], formula.format(c=c)))
    for name, lines in ("train", train), ("held_out", held_out), ("talks", talks):
        draw.shuffle(lines)
        write(name + ".jsonl", lines)


main()
