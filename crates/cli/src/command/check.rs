//! `check`: a run's record, computed again.

use std::process::ExitCode;

use stepwell_engine::audit::{Audit, audit};

use crate::arguments::Check;
use crate::say::say;
use crate::table::grouped;
use crate::visible::visible;

/// Computes again and tells what was compared.
pub(crate) fn check(words: &Check) -> anyhow::Result<ExitCode> {
    let found = audit(&words.run, words.threads.count())?;
    say(told(&found));
    Ok(ExitCode::SUCCESS)
}

fn told(found: &Audit) -> String {
    let counts = [
        (found.commits, "commits in an unbroken chain"),
        (found.trees, "trees whose tokens, texts and versions fit"),
        (found.steps, "steps of those trees"),
        (found.judged, "attempts played and judged again, with the same end"),
        (found.credited, "trees whose credit was computed again, bit for bit"),
        (found.logprobs, "log-probabilities computed again, bit for bit"),
        (found.checkpoints, "checkpoints that are what the record says"),
    ];
    let mut out = String::new();
    for (count, what) in counts {
        out.push_str(&format!("{:>12}  {what}\n", grouped(count)));
    }
    for what in &found.left_out {
        out.push_str(&format!("not compared: {}\n", visible(what)));
    }
    out + "what was compared follows from what it was made of"
}
