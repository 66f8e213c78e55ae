//! Runs programs of strangers, and decides what they may do.
//!
//! Two strengths. A **confined child** ([`confine`]) is this very binary, which takes every right
//! from itself but to compute, before it reads the first byte of a stranger: SQL runs there. A
//! **jail** ([`jail`]) is bubblewrap's namespaces around an interpreter or a command, and inside
//! them limits, Landlock and an allow-list of system calls: code of a policy runs there.
//!
//! Both start as `/proc/self/exe` under another role, so one binary is all there is to install; the
//! program's `main` calls [`enter`] first.
//!
//! Attacker: code written by a policy under optimisation pressure. What is stopped and what is not
//! is in `SECURITY.md`; every layer has a probe ([`probe`]) that uses it, and `tests/escape.rs`
//! tries to leave.

mod artifact;
mod bubblewrap;
mod cgroup;
pub mod child;
pub mod confine;
#[doc(hidden)]
pub mod holes;
pub mod jail;
mod launch;
pub mod layer;
pub mod pipe;
pub mod probe;
pub mod python;

pub use artifact::ArtifactError;
pub use child::{Role, enter};
pub use jail::{Jail, JailError, Limits, Program};
pub use layer::LayerError;
pub use probe::Grade;
