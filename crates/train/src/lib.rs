//! From layout and credit to one optimizer step.
