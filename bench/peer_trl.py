"""TRL's synchronous GRPO step. Usage: peer_trl.py DATA FOLDER cpu|wall

One step samples the attempts of all prompts, judges them, and takes one optimizer step: no
reference model (`beta = 0`), one iteration, no gradient checkpointing, fused AdamW, f32, sdpa. The
end token lies outside the vocabulary, so every attempt has its full length and no logits
processor is needed. The cache (dynamic, static) and the number of threads (1, 2) are those that
took the least of what the last argument names.
"""

import itertools
import json
import os
import sys
import time

import peer

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from datasets import disable_progress_bars
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

IMPORTED = peer.resident()
logging.disable_progress_bar()
logging.set_verbosity_error()
disable_progress_bars()
torch.set_num_threads(peer.THREADS)


def even(completion_ids, **_):
    """Our side's reward: the share of even tokens."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def tokenizer(vocabulary):
    """Token `n` is the word `tn`."""
    words = {f"t{n}": n for n in range(vocabulary)} | {"<end>": vocabulary}
    whole = Tokenizer(models.WordLevel(words, unk_token="t0"))
    whole.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=whole, eos_token="<end>", pad_token="<end>", padding_side="left")


class Trainer(GRPOTrainer):
    """May be told what to have sampled, for the comparison of gradients."""

    given = None

    def _generate_single_turn(self, prompt_ids, *rest, **named):
        if self.given is None:
            return super()._generate_single_turn(prompt_ids, *rest, **named)
        given, self.given = self.given, None
        return given, None


class Lines(TrainerCallback):
    """Waits for a line before every step, and answers after it."""

    def __init__(self, judge, caches, threads):
        self.judge, self.trainer, self.norm = judge, None, None
        self.choices = list(itertools.product(caches, threads))
        self.trials, self.found, self.word = [], {}, ""

    def watch(self, trainer):
        self.trainer = trainer
        clip = trainer.accelerator.clip_grad_norm_

        def watched(*given, **named):
            norm = clip(*given, **named)
            self.norm = float(norm)
            return norm

        trainer.accelerator.clip_grad_norm_ = watched

    def choose(self, cache, threads):
        self.trainer.generation_config.cache_implementation = cache
        self.trainer.generation_kwargs["cache_implementation"] = cache
        torch.set_num_threads(threads)

    def on_train_begin(self, *_, **__):
        peer.say({"ready": True, "imported": IMPORTED})

    def on_step_begin(self, *_, **__):
        if not self.trials:
            line = sys.stdin.readline()
            if not line:
                sys.stdout.flush()
                os._exit(0)
            self.word, _, rest = line.strip().partition(" ")
            if self.word == "check":
                self.trainer.given = json.loads(rest)
            if self.word == "calibrate":
                # Twice each: the first warms up.
                self.trials = [choice for choice in self.choices for _ in range(2)]
        if self.trials:
            self.choose(*self.trials[0])
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, *_, **__):
        wall = time.perf_counter() - self.start[0]
        cpu = time.process_time() - self.start[1]
        if not self.trials:
            peer.say({"wall": wall, "norm": self.norm})
            return
        self.found[self.trials.pop(0)] = cpu if self.judge == "cpu" else wall
        if not self.trials:
            best = min(self.found, key=self.found.get)
            self.choose(*best)
            told = ", ".join(f"{c or 'dynamic'} cache on {t} {v:.2f} s" for (c, t), v in self.found.items())
            peer.trim()
            peer.say({"note": f"{best[0] or 'dynamic'} cache, {best[1]} threads ({self.judge}: {told})"})


def main():
    data, folder, (judge,) = peer.arguments()
    words = tokenizer(data["vocabulary"])
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa")
    model.generation_config.eos_token_id = words.eos_token_id
    model.config.eos_token_id = words.eos_token_id
    prompts, length = data["prompts"], data["levels"][0]["sampled"]
    attempts = data["rows"] // len(prompts)
    config = GRPOConfig(
        output_dir=os.path.join(os.path.dirname(sys.argv[1]), "trl"), use_cpu=True, bf16=False,
        per_device_train_batch_size=data["rows"], num_generations=attempts,
        gradient_accumulation_steps=1, steps_per_generation=1, num_iterations=1, beta=0.0,
        max_completion_length=length, temperature=1.0, top_p=1.0, top_k=0, epsilon=0.2,
        loss_type="grpo", scale_rewards="group", gradient_checkpointing=False,
        learning_rate=data["learning_rate"], lr_scheduler_type="constant", adam_beta1=0.9,
        adam_beta2=0.95, adam_epsilon=1e-8, weight_decay=0.0, max_grad_norm=1.0,
        optim="adamw_torch_fused", max_steps=1_000_000, logging_strategy="no", save_strategy="no",
        report_to="none", disable_tqdm=True, dataloader_pin_memory=False, shuffle_dataset=False)
    large = data["parameters"] > 10_000_000
    lines = Lines(judge, [None, "static"], [2] if large else [1, 2])
    texts = [" ".join(f"t{token}" for token in prompt) for prompt in prompts]
    trainer = Trainer(
        model=model, reward_funcs=even, args=config, processing_class=words,
        train_dataset=Dataset.from_dict({"prompt": texts}), callbacks=[lines])
    lines.watch(trainer)
    trainer.train()


main()
