//! Environments and their judges.
