//! One family of decoder-only transformers, forward and backward, on the CPU.
