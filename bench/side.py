"""A process that answers lines: one side of a comparison."""

import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def clean(environment):
    """Threads of every library, said once."""
    return {**environment, "OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}


class Side:
    """Loaded once, then asked; its CPU clock and its memory are read from outside."""

    def __init__(self, label, command, log):
        self.label, self.note = label, ""
        self.log = open(log, "w")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=clean(os.environ))
        # Linux: the CPU clock of another process.
        self.clock = (~self.process.pid << 3) | 2
        self.answers, self.cpu, self.first = [], [], []
        ready = self.read()
        self.imported = ready.get("imported", 0)

    def read(self):
        while line := self.process.stdout.readline():
            # A library may print a line of its own.
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self.label}: ended with {self.process.wait()}; see {self.log.name}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def status(self, field):
        """A line of the process's status, in MiB."""
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
            self.answers.append(answer)
            self.cpu.append(cpu)
        else:
            self.first.append(answer)
        # Idle threads that spin are given time to sleep before the next side starts.
        time.sleep(0.05)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


class Commands:
    """How each kind of side is started."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.precisions = json.loads(
            subprocess.run([binary, "precisions"], capture_output=True, check=True).stdout)

    def facts(self, words):
        found = subprocess.run([self.binary, "facts", words], capture_output=True, check=True)
        return json.loads(found.stdout)

    def data(self, words):
        """The file of a workload's tokens, for a peer to read."""
        path = os.path.join(self.folder, re.sub(r"\W+", "_", words) + ".json")
        if not os.path.exists(path):
            with open(path, "w") as file:
                command = [self.binary, "data", self.folder, words]
                subprocess.run(command, stdout=file, check=True)
        return path

    def gguf(self, model, kind):
        path = os.path.join(self.folder, f"{model}.{kind}.gguf")
        if not os.path.exists(path):
            script = os.path.join(HERE, "to_gguf.py")
            command = [sys.executable, script, os.path.join(self.folder, model), path, kind]
            subprocess.run(command, check=True)
        return path

    def start(self, spec, log):
        """`spec` is the catalogue's: `own`, or `torch-train float32`, `llama f16`, `trl cpu`."""
        kind, *words = spec.kind.split()
        if kind == "own":
            command = [self.binary, "serve", self.folder, spec.words]
        else:
            script = os.path.join(HERE, f"peer_{kind}.py")
            model = spec.words.split()[0]
            source = os.path.join(self.folder, model)
            if kind == "llama":
                source = self.gguf(model, words[0])
            command = [sys.executable, script, self.data(spec.words), source, *words]
        return Side(spec.label, command, log)
