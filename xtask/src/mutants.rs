//! Planted bugs and the tests that must notice them: `cargo xtask mutants`.
//!
//! Each bug is at a `stepwell_mutant::planted(n)` of the sources. It is switched on alone, and the
//! narrowest test that is there to notice it must turn red; without any bug the same tests are
//! green. A bug that turns nothing red is a test that is missing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A planted bug.
pub(crate) struct Mutant {
    /// What `planted` is asked.
    pub(crate) number: u32,
    /// The file that holds it.
    pub(crate) file: &'static str,
    /// What is wrong there.
    pub(crate) bug: &'static str,
    /// What follows `cargo test`.
    test: &'static str,
}

macro_rules! mutants {
    ($($number:literal, $file:literal, $bug:literal, $test:literal;)*) => {
        &[$(Mutant { number: $number, file: $file, bug: $bug, test: $test }),*]
    };
}

/// All of them. Files are below `crates/`.
pub(crate) const MUTANTS: &[Mutant] = mutants![
    1, "methods/src/credit/sibling.rs", "the sign of credit is flipped",
        "--lib credit::sibling";
    2, "train/src/batch.rs", "a token is read at its own row and not at the one before",
        "--test p03_sampled_is_trained p03_trainer";
    3, "methods/src/credit/group_mean.rs", "unscored attempts enter the baseline as 0",
        "--lib credit::group_mean";
    4, "methods/src/credit/sibling.rs", "the mean of the siblings includes the step itself",
        "--lib credit::sibling";
    5, "methods/src/credit/group_mean.rs", "no epsilon, and equal rewards are not seen as such",
        "--lib credit::group_mean";
    6, "methods/src/objective/kl.rs", "the two sides of the clip are swapped",
        "--lib objective::clipped";
    7, "methods/src/objective/kl.rs", "the ratio is that of the current weights with themselves",
        "--lib objective::clipped";
    8, "train/src/machine/cpu.rs", "a cache of prompts has no policy version in its key",
        "--test guards the_record_tells";
    9, "tree/src/layout.rs", "a token's predecessor is the row before, not the path's",
        "--lib layout::tests";
    10, "train/src/batch.rs", "the trainer ignores the temperature",
        "--test p03_sampled_is_trained p03_trainer";
    11, "train/src/machine/cpu.rs", "the optimizer's step is off by one after a resume",
        "--test p01_restore goes_on";
    12, "train/src/machine/cpu.rs", "the optimizer's moments are not restored",
        "--test p01_restore goes_on";
    13, "train/src/policy.rs", "a draw's key has no position in the step",
        "--test p03_sampled_is_trained p02_tokens";
    14, "engine/src/rollout.rs", "a draw's key has no child index",
        "--test guards the_record_tells";
    15, "engine/src/stage/rl.rs", "trees are not committed before they train",
        "--test guards inv_15";
    16, "store/src/sqlite.rs", "`synchronous` is lowered",
        "--lib record::tests::p10_an_ack";
    17, "store/src/chain.rs", "a digest does not cover the one before it",
        "--lib chain::tests::p10_a_digest";
    18, "store/src/atomic.rs", "nothing is synced",
        "--lib atomic::tests::p11";
    19, "store/src/checkpoint.rs", "a checkpoint is renamed before its folder is synced",
        "--lib atomic::tests::p11";
    20, "store/src/manifest.rs", "a checkpoint's files are not compared with its manifest",
        "--test crash row_85";
    21, "tree/src/verdict.rs", "an unscored verdict is worth 0",
        "--lib credit::sibling";
    22, "env/src/sql/permission.rs", "SQLite may do whatever a query asks",
        "--test limits refusals";
    23, "env/src/sql/judge.rs", "an answer is judged without the perturbed twin",
        "--test sql laws_hold";
    24, "env/src/sql/equality.rs", "order does not count where the gold query orders",
        "--test sql laws_hold";
    25, "env/src/math_answer/extract.rs", "of two boxes the first is taken",
        "--lib math_answer::extract";
    26, "model/src/tokenizer/document.rs", "content is tokenised with control tokens",
        "--lib tokenizer::tests::no_text_forges";
    27, "model/src/template/mod.rs", "a chat template has no budget to speak of",
        "--lib template::tests::hungry";
    28, "methods/src/credit/gae.rs", "gamma and lambda are swapped",
        "--lib credit::gae";
    29, "methods/src/objective/kl.rs", "the divergence from the reference has the other sign",
        "--lib objective::kl";
    30, "methods/src/preference/mod.rs", "chosen and rejected are swapped",
        "--lib preference::dpo";
    31, "model/src/adapter/lora.rs", "the scale of an adapter is forgotten",
        "--lib adapter::";
    32, "model/src/decode/row.rs", "a decoded token's position is off by one",
        "--test decode sampled_and_trained";
    33, "train/src/guard.rs", "a weight changes between two updates",
        "--test p03_sampled_is_trained p03_a_weight";
    34, "engine/src/stage/forest.rs", "`unscored_max` refuses nothing",
        "--test p07_unscored p07_too_many";
    35, "engine/src/stage/rl.rs", "credit is shifted by one step",
        "--test guards the_record_tells";
    36, "train/src/update.rs", "a gradient that is not finite reaches the optimizer",
        "--test p08_numbers p08_what";
    37, "train/src/policy.rs", "sampled log-probs are shifted by one token",
        "--test p03_sampled_is_trained p03_trainer";
    38, "train/src/schedule.rs", "the learning rate is that of the step after",
        "--lib schedule::tests";
    39, "train/src/machine/cpu.rs", "a step leaves a weight that is no number",
        "--test guards p08_a_weight";
];

/// How a test went.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Went {
    Green,
    Red,
    /// It did not run: a bug of the table, or of the build.
    NotAtAll,
}

/// Plants the bugs, one at a time, and asks for red tests.
pub(crate) fn mutants(root: &Path) -> Result<()> {
    absent_from_release(root)?;
    let tests: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.test).collect();
    for test in &tests {
        if run(root, test, None)? != Went::Green {
            bail!("`cargo test --workspace {test}` is not green without a bug");
        }
    }
    println!("{} tests are green without a bug", tests.len());
    let mut survivors = 0;
    for Mutant { number, file, bug, test } in MUTANTS {
        let word = match run(root, test, Some(*number))? {
            Went::Red => "red",
            Went::Green => {
                survivors += 1;
                "GREEN: no test notices it"
            }
            Went::NotAtAll => bail!("`cargo test --workspace {test}` runs no test"),
        };
        println!("{number:>3} {bug} ({file}): {word}");
    }
    println!("{} of {} planted bugs were noticed", MUTANTS.len() - survivors, MUTANTS.len());
    if survivors > 0 {
        bail!("a planted bug turned no test red: write the test that is missing");
    }
    Ok(())
}

fn run(root: &Path, test: &str, bug: Option<u32>) -> Result<Went> {
    let mut command = Command::new("cargo");
    // The whole workspace, so that what the other tests have built is what runs.
    command.args(["test", "--workspace", "--quiet", "--no-fail-fast"]);
    command.args(test.split(' ')).current_dir(root);
    command.env_remove("STEPWELL_MUTANT").env("RUST_BACKTRACE", "0");
    command.envs(bug.map(|bug| ("STEPWELL_MUTANT", bug.to_string())));
    let output = command.output().context("cannot start cargo test")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let ran = said.lines().filter_map(|line| line.strip_prefix("test result: "));
    let ran: Vec<&str> = ran.filter(|line| !line.contains(". 0 passed; 0 failed")).collect();
    Ok(match (ran.is_empty(), output.status.success()) {
        (true, _) => Went::NotAtAll,
        (false, true) => Went::Green,
        (false, false) => Went::Red,
    })
}

/// The name of the switch stands in no release build: neither in the crate that would read it nor
/// in a binary that was built before.
fn absent_from_release(root: &Path) -> Result<()> {
    let build = ["build", "--release", "--quiet", "--package", "stepwell-mutant"];
    let built = Command::new("cargo").args(build).current_dir(root).status();
    if !built.context("cannot start cargo build")?.success() {
        bail!("stepwell-mutant does not build in release");
    }
    let own = std::env::var_os("CARGO_TARGET_DIR").map(std::path::PathBuf::from);
    let target = own.unwrap_or_else(|| root.join("target")).join("release");
    let mut looked = 0;
    for name in ["libstepwell_mutant.rlib", "stepwell"] {
        let Ok(bytes) = std::fs::read(target.join(name)) else { continue };
        looked += 1;
        let switch = b"STEPWELL_MUTANT";
        if bytes.windows(switch.len()).any(|window| window == switch) {
            bail!("{name} of the release build can be told to plant a bug");
        }
    }
    if looked == 0 {
        bail!("{}: no release build to look into", target.display());
    }
    Ok(())
}
