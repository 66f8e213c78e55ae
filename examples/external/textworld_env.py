"""TextWorld behind stepwell's door: a game per task, a command per line, forks that copy the game.

    python3 textworld_env.py [KEY=NUMBER ...]

The keys are those of textworld.GameOptions (`nb_rooms=1 nb_objects=3 quest_length=1`). The reward is
the share of the quest's score. Needs `pip install textworld`.
"""
import json, os, re, sys, tempfile

out, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
os.dup2(2, 1)  # the interpreter of games prints, too: nothing but replies reaches the pipe
import textworld

KEYS = {k: int(v) for k, v in (word.split("=") for word in sys.argv[1:])}
SEEDS = {"train": 1_000_000, "development": 2_000_000, "held_out": 3_000_000}
INFOS = textworld.EnvInfos(description=True, objective=True, admissible_commands=True,
                           max_score=True)
folder = os.path.join(tempfile.gettempdir(), "stepwell-textworld", *sys.argv[1:])
os.makedirs(folder, exist_ok=True)  # games are made once and outlive the program
os.chdir(folder)  # the interpreter of games writes files where it stands
FILES = {"save", "restore", "script", "unscript", "transcript", "quit", "restart", "undo"}
episodes = {}


def game(seed):
    options = textworld.GameOptions()
    options.seeds, options.path = seed, os.path.join(folder, f"{seed}.z8")
    for key, value in KEYS.items():
        setattr(options, key, value)
    if not os.path.exists(options.path):
        textworld.generator.compile_game(textworld.generator.make_game(options), options)
    env = textworld.start(options.path, INFOS)
    return env, env.reset()


def task(split, index):
    seed = SEEDS[split] + index
    env, state = game(seed)
    env.close()
    commands = ", ".join(state.admissible_commands)
    question = " ".join(f"{state.objective} {state.description}".split())
    return {"id": f"{split}-{index}", "question": question, "commands": commands, "game": str(seed)}


def answer(method, r):
    if method == "hello":
        return {"protocol": 1, "name": "textworld", "offers": ["episodes", "fork", "tasks"],
                "stop": ["\n"]}
    if method == "tasks":
        return {"tasks": [task(r["split"], r["from"] + k) for k in range(r["count"])]}
    if method == "start":
        episodes[r["episode"]] = game(int(r["task"]["game"]))
    elif method == "fork":
        env, state = episodes[r["episode"]]
        episodes[r["into"]] = env.copy(), state
    elif method == "end":
        episodes.pop(r["episode"])[0].close() if r["episode"] in episodes else None
    elif method == "step":
        env, start = episodes[r["episode"]]
        # Its interpreter of games takes a backslash for an escape, and crashes on some texts.
        command = re.sub("[^A-Za-z0-9' -]", " ", r["text"])[:80].strip()
        # A policy that says `script` or `save` would write a file named by what it says next.
        outside = not command or command.split()[0].lower() in FILES
        state, score, done = env.step("look" if outside else command)
        if done or r["last"]:
            episodes.pop(r["episode"])[0].close()
            return {"verdict": {"reward": max(0, score) / max(1, start.max_score)}}
        return {"observation": " ".join(state.feedback.split(">")[0].split()) + "\n"}
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
