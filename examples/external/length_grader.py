"""A grader for stepwell: it reads a finished attempt and judges it.

Here: the last line must be the task's `answer`, and the part `short` says how brief the rest was.
"""
import json, sys

out, sys.stdout = sys.stdout, sys.stderr  # a stray print must not pass for a reply


def answer(method, r):
    if method == "hello":
        return {"protocol": 1, "name": "length", "offers": ["grade"], "parts": ["short"]}
    if method == "grade":
        lines = "".join(r["steps"]).strip().splitlines() or [""]
        reward = float(lines[-1].strip() == r["task"]["answer"])
        return {"verdict": {"reward": reward, "parts": {"short": 1 / len(lines)}}}
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
