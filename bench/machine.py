"""What the figures were measured on."""

import importlib.metadata
import os
import platform
import re
import time


def field(text, name):
    match = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1] if match else "unknown"


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def describe():
    with open("/proc/cpuinfo") as file:
        cpu = file.read()
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"MemTotal:\s+(\d+)", file.read())[1]) / 2**20
    flags = field(cpu, "flags").split()
    wanted = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return {
        "date": time.strftime("%Y-%m-%d"), "cpu": field(cpu, "model name"),
        "family": f"family {field(cpu, 'cpu family')}, model {field(cpu, 'model')}",
        "cores": os.cpu_count(), "memory": memory, "flags": wanted,
        "waiting": os.environ.get("OMP_WAIT_POLICY", "the library's default"),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "xllamacpp")},
    }
