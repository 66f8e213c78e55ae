//! Ctrl-C is a feature (P21): the first finishes the step and writes a checkpoint, the second stops
//! at once. SIGTERM and SIGHUP count as Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Exit code of a run that was asked to stop: 128 and SIGINT's number.
pub(crate) const STOPPED: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Listens from now on.
pub(crate) fn listen() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            // The record commits whole transactions and checkpoints are renamed when whole: there
            // is nothing to clean up.
            std::process::exit(i32::from(STOPPED));
        }
    })
    .context("cannot listen to Ctrl-C")
}

/// True once somebody asked to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// From now on a file that would grow past the limit of the process is an error of the write, which
/// is told, and not the end of the process.
pub(crate) fn outlive_limits() {
    // Whether it arrived is not asked: the write says so.
    let arrived = Arc::new(AtomicBool::new(false));
    // Where it cannot be caught, the process ends as it would have: nothing is half written.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, arrived);
}
