#!/usr/bin/env python3
"""Makes blocks of every weight type that stepwell reads from GGUF files, and their values.

Needs: pip install gguf numpy
Usage: python tools/make_gguf_fixtures.py crates/model/tests/fixtures/gguf_blocks.json

The bytes are random but for the scales, which are halves of every kind a file may hold: normal,
subnormal, negative, zero. The values are what the package `gguf` makes of them, as bits.
"""

import json
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# Bytes at which a block holds a half.
HALVES = {
    "F16": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
SCALES = [0.0123, -0.0371, 3.1e-6, 0.0, -2.0, 7.25]


def blocks(kind, generator):
    values, size = GGML_QUANT_SIZES[kind]
    count = len(SCALES) * max(1, 32 // values)
    made = generator.integers(0, 256, (count, size), dtype=np.uint8)
    if kind.name in ("F32", "BF16"):
        # Any finite value: the upper bits of an f32.
        floats = generator.standard_normal(count).astype(np.float32) * 10
        made = floats.view(np.uint8).reshape(count, 4)
        made = made if kind.name == "F32" else np.ascontiguousarray(made[:, 2:])
    for number, at in enumerate(HALVES.get(kind.name, [])):
        for block in range(count):
            scale = np.float16(SCALES[(block + number) % len(SCALES)] * (1 + block / 64))
            made[block, at : at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
    return made


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    generator = np.random.default_rng(5)
    record = {}
    for name in ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]:
        kind = GGMLQuantizationType[name]
        made = blocks(kind, generator)
        values = dequantize(made.reshape(1, -1), kind).reshape(-1)
        assert np.isfinite(values).all(), name
        record[name] = {
            "number": int(kind),
            "bytes": made.tobytes().hex(),
            "values": values.astype("<f4").tobytes().hex(),
        }
    pathlib.Path(sys.argv[1]).write_text(json.dumps(record, indent=0) + "\n")


if __name__ == "__main__":
    main()
