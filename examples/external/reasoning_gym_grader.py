"""reasoning-gym behind stepwell's door: its tasks, and its scorers as a grader.

    python3 reasoning_gym_grader.py FAMILY [KEY=NUMBER ...]

FAMILY is one of its procedural data sets (`chain_sum`), the keys are that family's. The question is
the data set's, the answer is all the policy wrote. Needs `pip install reasoning-gym`.
"""
import json, sys

out, sys.stdout = sys.stdout, sys.stderr  # a stray print must not pass for a reply
import reasoning_gym

FAMILY, KEYS = sys.argv[1], {k: int(v) for k, v in (word.split("=") for word in sys.argv[2:])}
APART = 1_000_000  # an entry is drawn from seed + index: so many entries of a split are its own
SEEDS = {"train": APART, "development": 2 * APART, "held_out": 3 * APART}
sets = {}  # a data set is made at once: an entry depends on its seed and index only


def entry(split, index):
    if index >= APART:
        raise ValueError(f"a split has {APART} tasks, asked for number {index}")
    if index >= len(sets.get(split, ())):
        sets[split] = reasoning_gym.create_dataset(
            FAMILY, seed=SEEDS[split], size=min(2 * index + 100, APART), **KEYS)
    return sets[split][index]


def task(split, index):
    question = entry(split, index)["question"]
    return {"id": f"{split}-{index}", "question": question, "split": split, "index": str(index)}


def answer(method, r):
    if method == "hello":
        return {"protocol": 1, "name": f"reasoning_gym {FAMILY}", "offers": ["grade", "tasks"]}
    if method == "tasks":
        return {"tasks": [task(r["split"], r["from"] + k) for k in range(r["count"])]}
    if method == "grade":
        split, index = r["task"]["split"], int(r["task"]["index"])
        text, asked = "".join(r["steps"]).strip(), entry(split, index)
        return {"verdict": {"reward": float(sets[split].score_answer(text, asked))}}
    if method == "end":
        return {}
    raise ValueError(f"unknown method {method}")


for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "close":
        break
    try:
        reply = answer(request["method"], request)
    except Exception as problem:  # the attempt has no verdict, the program goes on
        reply = {"error": f"{type(problem).__name__}: {problem}"}
    print(json.dumps({"id": request["id"], **reply}), file=out, flush=True)
