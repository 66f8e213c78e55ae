"""What every peer's process shares: one answer, a line of JSON, for every line it reads."""

import ctypes
import json
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "2")
THREADS = int(os.environ["OMP_NUM_THREADS"])


def resident():
    """Resident memory of this process in MiB."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def trim():
    """Gives freed memory back, so that a peak measured later is of what is measured."""
    ctypes.CDLL(None).malloc_trim(0)


def arguments():
    """The data and the model's folder that the driver names, and the words that follow."""
    with open(sys.argv[1]) as file:
        return json.load(file), sys.argv[2], sys.argv[3:]


def say(answer):
    print(json.dumps(answer), flush=True)


def serve(answer, imported):
    """Answers until the driver closes the pipe."""
    say({"ready": True, "imported": imported})
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        say(answer(word, rest))
        if word == "calibrate":
            trim()
