"""Safes with one digit each, as an environment for stepwell: docs/EXTERNAL.md is the protocol.

A step is a line: `?` looks the digit up, a digit opens the safe. A guess is right one time in ten.
"""
import copy, json, random, sys

out, sys.stdout = sys.stdout, sys.stderr  # a stray print must not pass for a reply
episodes = {}


def task(split, index):
    digit = random.Random(f"{split} {index}").randrange(10)
    return {"id": f"{split}-{index}", "question": f"safe {split} {index}", "answer": str(digit)}


def answer(method, r):
    if method == "hello":
        return {"protocol": 1, "name": "safe", "offers": ["episodes", "fork", "tasks"],
                "stop": ["\n"], "parts": ["looked"], "reward": [0, 1]}
    if method == "tasks":
        return {"tasks": [task(r["split"], r["from"] + k) for k in range(r["count"])]}
    if method == "start":
        episodes[r["episode"]] = {"digit": r["task"]["answer"], "looked": 0}
    elif method == "fork":
        episodes[r["into"]] = copy.deepcopy(episodes[r["episode"]])
    elif method == "end":
        episodes.pop(r["episode"], None)
    elif method == "step":
        state = episodes[r["episode"]]
        if r["text"].strip() == "?" and not r["last"]:
            state["looked"] = 1
            return {"observation": state["digit"] + "\n"}
        reward = float(r["text"].strip() == episodes.pop(r["episode"])["digit"])
        return {"verdict": {"reward": reward, "parts": {"looked": state["looked"]}}}
    else:
        raise ValueError(f"unknown method {method}")
    return {}


for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "close":
        break
    try:
        reply = answer(request["method"], request)
    except Exception as problem:  # the attempt has no verdict, the program goes on
        reply = {"error": f"{type(problem).__name__}: {problem}"}
    print(json.dumps({"id": request["id"], **reply}), file=out, flush=True)
