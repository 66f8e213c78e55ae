//! `doctor`: what this machine offers, and what to do about what is missing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use stepwell_sandbox::probe::Finding;

use crate::arguments::Doctor;
use crate::say::say;
use crate::table::bytes;

/// One thing looked at.
#[derive(Serialize, Debug)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found.
    found: String,
    /// What to do where it is missing.
    #[serde(skip_serializing_if = "str::is_empty")]
    next: &'static str,
    /// False where stepwell works without it.
    #[serde(skip)]
    needed: bool,
}

/// Prints the checks. Exit code 3 where something is missing that a run needs.
pub(crate) fn doctor(words: &Doctor) -> anyhow::Result<ExitCode> {
    let export = "only the check of exports needs it: python3 -m pip install transformers torch";
    let events = "only the check of exports needs it: python3 -m pip install tensorboard";
    let checks = [
        processor(),
        cores(),
        memory(),
        disk(),
        gpu(),
        sqlite(),
        confined_child(),
        sandbox(),
        sandboxed_python(),
        python(),
        packages("transformers", &["transformers", "torch"], export),
        packages("tensorboard", &["tensorboard"], events),
    ];
    if words.json {
        let object: std::collections::BTreeMap<&str, &Check> =
            checks.iter().map(|check| (check.name, check)).collect();
        say(serde_json::to_string_pretty(&object)?);
    } else {
        for check in &checks {
            let state = if check.ok { "ok     " } else { "missing" };
            say(format!("{state}  {:<12}  {}", check.name, check.found));
            if !check.ok {
                say(format!("                       {}", check.next));
            }
        }
    }
    let broken = checks.iter().any(|check| check.needed && !check.ok);
    Ok(ExitCode::from(if broken { 3 } else { 0 }))
}

fn processor() -> Check {
    let level = stepwell_model::vector_unit();
    Check {
        name: "processor",
        ok: level != "portable",
        found: format!("{}, kernels for: {level}", std::env::consts::ARCH),
        next: "a processor with AVX2 and FMA trains several times faster",
        needed: false,
    }
}

fn cores() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Check { name: "cores", ok: true, found: cores.to_string(), next: "", needed: false }
}

fn memory() -> Check {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    let available = kilobytes.map(|kilobytes| kilobytes * 1024.0);
    Check {
        name: "memory",
        ok: available.is_none_or(|bytes| bytes > 1e9),
        found: available.map_or_else(
            || "cannot tell on this system".to_owned(),
            |free| format!("{} available", bytes(free)),
        ),
        next: "free at least 1 GB, or take a smaller model: `stepwell recipe check` tells its need",
        needed: false,
    }
}

fn disk() -> Check {
    let free = rustix::fs::statvfs(".")
        .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) as f64)
        .unwrap_or(0.0);
    Check {
        name: "disk",
        ok: free > 1e9,
        found: format!("{} free in the working folder", bytes(free)),
        next: "free at least 1 GB, or name another folder: stepwell train RECIPE --run FOLDER",
        needed: true,
    }
}

/// The GPU that `device = "cuda"` would use, or why there is none.
fn gpu() -> Check {
    let found = stepwell_train::Device::Cuda.probe();
    Check {
        name: "gpu",
        ok: found.is_ok(),
        found: found.unwrap_or_else(|reason| reason.to_string()),
        next: "only `model.compute.device = \"cuda\"` needs it; all else runs on the processor",
        needed: false,
    }
}

fn sqlite() -> Check {
    let found = format!("{}, linked in", rusqlite::version());
    Check { name: "sqlite", ok: true, found, next: "", needed: true }
}

/// SQL of a policy runs in one.
fn confined_child() -> Check {
    let looked = stepwell_sandbox::probe::confined_child();
    let open = |findings: &[Finding]| findings.iter().any(|finding| !finding.holds);
    Check {
        name: "sql child",
        ok: looked.as_ref().is_ok_and(|findings| !open(findings)),
        found: looked.map(|findings| told(&findings)).unwrap_or_else(|why| why),
        next: "SQL runs in a child without rights: it needs Linux 6.12 or newer with Landlock",
        needed: true,
    }
}

/// Code of a policy runs in one. Layers are used, not asked for their versions.
fn sandbox() -> Check {
    let grade = stepwell_sandbox::probe::jail(false);
    let word = grade.word();
    Check {
        name: "sandbox",
        ok: grade.is_whole(),
        found: match grade.missing {
            Some(why) => format!("{word}: {why}"),
            None => format!("{word}: {}", told(&grade.findings)),
        },
        next: "only environments that run code need it: install bubblewrap, on Linux 6.12 or newer",
        needed: false,
    }
}

/// The layers that hold by name, the others with what was seen.
fn told(findings: &[Finding]) -> String {
    let (good, bad): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.holds);
    let good = good.iter().map(|finding| finding.layer).collect::<Vec<_>>().join(", ");
    let bad = bad.iter().map(|finding| format!("; {}: {}", finding.layer, finding.found));
    format!("{good}{}", bad.collect::<String>()).trim_start_matches("; ").to_owned()
}

fn sandboxed_python() -> Check {
    let python = stepwell_sandbox::python::Python::default();
    let answered = stepwell_sandbox::probe::python(&python);
    Check {
        name: "jailed python",
        ok: answered.is_ok(),
        found: match answered {
            Ok(version) => format!("{version}, {}", python.interpreter.display()),
            Err(why) => why.to_string(),
        },
        next: "only the environment `python` needs it: install python3, or name another interpreter",
        needed: false,
    }
}

fn python() -> Check {
    let found = python_path();
    Check {
        name: "python3",
        ok: found.is_some(),
        found: found.map_or_else(|| "not on PATH".to_owned(), |path| path.display().to_string()),
        next: "only the check of exports needs it: install python3",
        needed: false,
    }
}

/// Looks for the packages where `python3` looks; only a sandbox starts processes.
fn packages(name: &'static str, wanted: &[&str], next: &'static str) -> Check {
    let places = package_folders();
    let place = |name: &str| places.iter().find(|place| place.join(name).is_dir());
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| place(name).is_none()).collect();
    let found = match (&missing[..], place(name)) {
        ([], Some(folder)) => folder.display().to_string(),
        (missing, _) => format!("not found: {}", missing.join(", ")),
    };
    Check { name, ok: missing.is_empty(), found, next, needed: false }
}

fn python_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    found.find(|file| file.is_file())
}

/// Folders in which a `python3` of this machine finds packages.
fn package_folders() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = Vec::new();
    if let Some(python) = python_path() {
        let real = python.canonicalize().unwrap_or_else(|_| python.clone());
        for file in [&python, &real] {
            roots.extend(file.parent().and_then(Path::parent).map(Path::to_owned));
        }
    }
    // pyenv's `python3` is a shim beside its versions.
    let versions = roots.iter().flat_map(|root| std::fs::read_dir(root.join("versions")));
    let versions: Vec<PathBuf> = versions.flatten().flatten().map(|entry| entry.path()).collect();
    roots.extend(versions);
    roots.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local")));
    roots.push(PathBuf::from("/usr/local"));
    let mut found = Vec::new();
    for root in roots {
        for library in std::fs::read_dir(root.join("lib")).into_iter().flatten().flatten() {
            if library.file_name().to_string_lossy().starts_with("python3") {
                let places = ["site-packages", "dist-packages"];
                found.extend(places.map(|place| library.path().join(place)));
            }
        }
    }
    if let Some(path) = std::env::var_os("PYTHONPATH") {
        found.extend(std::env::split_paths(&path));
    }
    found
}
