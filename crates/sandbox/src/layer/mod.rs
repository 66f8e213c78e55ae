//! What a process takes from itself, each layer in a file. All of them are inherited and none can
//! be given back.

pub mod files;
pub mod identity;
pub mod limits;
pub mod syscalls;

use thiserror::Error;

/// A layer that this kernel or this process does not offer.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{layer} unavailable: {cause}{}", advice(layer))]
pub struct LayerError {
    /// Its name: `bubblewrap`, `identity`, `namespaces`, `limits`, `landlock`, `seccomp`.
    pub layer: &'static str,
    /// The system's words.
    pub cause: String,
}

/// What to do where a layer is missing, behind the system's words.
fn advice(layer: &str) -> &'static str {
    match layer {
        "landlock" => {
            "; needs Linux 6.12 or later with Landlock among its security modules; a `weak` \
             sandbox does without"
        }
        "seccomp" => {
            "; needs a kernel with filters of system calls, on x86-64, aarch64 or riscv64; a \
             `weak` sandbox does without"
        }
        "namespaces" => {
            "; the kernel has to allow user namespaces to ordinary users \
             (kernel.unprivileged_userns_clone, user.max_user_namespaces, AppArmor)"
        }
        _ => "",
    }
}

impl LayerError {
    /// The layer of a name, as another process told it.
    pub(crate) fn named(name: &str, cause: String) -> LayerError {
        let known = ["landlock", "seccomp", "limits", "identity", "namespaces", "bubblewrap"];
        let layer = known.into_iter().find(|known| *known == name).unwrap_or("sandbox");
        LayerError { layer, cause }
    }

    pub(crate) fn new(layer: &'static str, cause: impl ToString) -> LayerError {
        LayerError { layer, cause: cause.to_string() }
    }
}
