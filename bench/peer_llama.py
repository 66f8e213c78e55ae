"""llama.cpp's decoding round. Usage: peer_llama.py DATA FILE.gguf

The server of the prebuilt wheel `xllamacpp`, in this process: one request with all prompts, as many
slots as prompts, greedy (kinder than sampling from the whole vocabulary, which our side does).
"""

import re
import time

import peer

import xllamacpp

IMPORTED = peer.resident()


class Decoding:
    def __init__(self, data, path):
        self.prompts, self.tokens = data["prompts"], data["levels"][0]["sampled"]
        rows = len(self.prompts)
        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_parallel = rows
        params.n_ctx = rows * 256
        params.n_batch = params.n_ubatch = 1024
        params.n_predict = self.tokens
        params.cpuparams.n_threads = peer.THREADS
        params.cpuparams_batch.n_threads = peer.THREADS
        params.cache_ram_mib = 0
        if ".f32." in path:
            # Else keys and values are f16, and so are the sums of its flash attention: the greedy
            # tokens then leave those of every f32 engine within thirty tokens.
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            kinds = xllamacpp.llama_flash_attn_type
            params.flash_attn_type = kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.warmup = True
        params.verbosity = 0
        self.server = xllamacpp.Server(params)

    def answer(self, word, _):
        if word == "calibrate":
            return {"note": xllamacpp.get_system_info().strip()}
        start = time.perf_counter()
        found = self.server.handle_completions({
            "prompt": self.prompts if len(self.prompts) > 1 else self.prompts[0],
            "n_predict": self.tokens, "temperature": 0.0, "samplers": ["top_k"], "top_k": 1,
            "ignore_eos": True, "cache_prompt": False,
        })
        wall = time.perf_counter() - start
        rows = sorted(found["choices"], key=lambda row: row["index"])
        tokens = [[int(n) for n in re.findall(r"t(\d+)", row["text"])] for row in rows]
        if [len(row) for row in tokens] != [self.tokens] * len(self.prompts):
            raise SystemExit(f"{self.tokens} tokens asked, got {[len(row) for row in tokens]}")
        if word == "check":
            return {"tokens": tokens}
        return {"wall": wall, "opened": found["timings"]["prompt_ms"] / 1000}


data, path, _ = peer.arguments()
peer.serve(Decoding(data, path).answer, IMPORTED)
