//! The house rules that are enforced: each has been expensive to find later.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Files under version control, or new and not ignored.
fn files() -> Vec<String> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git ls-files: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.split('\0').filter(|file| !file.is_empty()).map(str::to_owned);
    names.filter(|file| root().join(file).is_file()).collect()
}

fn sources() -> Vec<(String, String)> {
    let rust = files().into_iter().filter(|file| file.ends_with(".rs"));
    rust.map(|file| (std::fs::read_to_string(root().join(&file)).unwrap(), file))
        .map(|(text, file)| (file, text))
        .collect()
}

/// Lines of code above the unit tests, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..end].lines().enumerate();
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(n, line)| (n + 1, line))
}

fn is_test(file: &str) -> bool {
    ["/tests/", "/benches/", "/examples/"].iter().any(|folder| file.contains(folder))
}

#[track_caller]
fn none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Every edge that ARCHITECTURE.md draws. What is not here is forbidden.
const EDGES: &[(&str, &[&str])] = &[
    ("mutant", &[]),
    ("tree", &["mutant"]),
    ("methods", &["mutant", "tree"]),
    ("model", &["mutant"]),
    ("train", &["mutant", "tree", "methods", "model"]),
    ("sandbox", &[]),
    ("env", &["mutant", "tree", "sandbox"]),
    ("store", &["mutant", "tree"]),
    ("engine", &["mutant", "tree", "methods", "model", "train", "env", "store"]),
    ("cli", &["tree", "methods", "model", "train", "sandbox", "env", "store", "engine"]),
    ("fuzz", &["tree", "model", "env", "store", "engine"]),
];

/// Crates that may use nothing of the registry but these.
const PURE: &[(&str, &[&str])] = &[("tree", &["serde", "blake3"]), ("methods", &["serde"])];

#[test]
fn imports_follow_the_architecture() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(own) = name.strip_prefix("stepwell-") else { continue };
        seen.insert(own.to_owned());
        let allowed = EDGES.iter().find(|(from, _)| *from == own).map(|(_, to)| *to);
        let Some(allowed) = allowed else {
            broken.push(format!("crate `{own}` is not in the table of edges"));
            continue;
        };
        let pure = PURE.iter().find(|(from, _)| *from == own).map(|(_, to)| *to);
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let to = dependency["name"].as_str().unwrap();
            match (to.strip_prefix("stepwell-"), pure) {
                (Some(to), _) if !allowed.contains(&to) => broken.push(format!("{own} -> {to}")),
                (None, Some(pure)) if !pure.contains(&to) => broken.push(format!("{own} -> {to}")),
                _ => {}
            }
        }
    }
    assert_eq!(seen.len(), EDGES.len(), "the table names crates that do not exist: {seen:?}");
    none(broken, "an import that ARCHITECTURE.md does not draw");
}

/// A word that may stand only in some files.
struct Fence {
    words: &'static [&'static str],
    inside: &'static [&'static str],
    why: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        words: &["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait"],
        inside: &["crates/model/src/kernel/", "crates/model/src/cuda/"],
        why: "unsafe code belongs in model::kernel and model::cuda (INV-19)",
    },
    Fence {
        words: &["println!", "eprintln!", "print!(", "eprint!("],
        inside: &["crates/cli/", "xtask/", "bench/"],
        why: "only cli prints (INV-14)",
    },
    Fence {
        words: &[
            "io::stdout().lock",
            "io::stderr().lock",
            "io::stdout().write",
            "io::stderr().write",
        ],
        inside: &[
            "crates/cli/src/say.rs",
            "crates/cli/src/command/play.rs",
            "crates/sandbox/src/",
            "xtask/",
            "bench/",
        ],
        why: "what is printed passes cli::say, which lets no control character through (P18)",
    },
    Fence {
        words: &["process::Command", "Command::new"],
        inside: &[
            "xtask/",
            "crates/env/src/external/",
            "crates/env/src/sql/child/tests.rs",
            "crates/sandbox/src/",
        ],
        why: "only the sandbox and an external environment start processes",
    },
    Fence {
        words: &["async fn", "async move", ".await"],
        inside: &[],
        why: "the engine is threads and channels (INV-18)",
    },
    Fence {
        words: &["fs::write", "File::create", "fs::rename", "create_dir"],
        inside: &[
            "crates/store/",
            "crates/cli/",
            "xtask/",
            "crates/model/src/io/",
            "crates/sandbox/src/cgroup.rs",
        ],
        why: "only store writes under the run folder (INV-14)",
    },
];

#[test]
fn walls_have_no_holes() {
    let mut broken = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !is_test(file)) {
        for fence in FENCES {
            if fence.inside.iter().any(|place| file.starts_with(place)) {
                continue;
            }
            for (line, words) in code(text) {
                if fence.words.iter().any(|word| words.contains(word)) {
                    broken.push(format!("{file}:{line}: {}", fence.why));
                }
            }
        }
    }
    none(broken, "a wall was crossed");
}

#[test]
fn nothing_unwraps_outside_tests() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let stem = file.rsplit('/').next().unwrap();
        if is_test(&file) || stem.contains("test") || stem == "laws.rs" {
            continue;
        }
        let hits = code(&text).filter(|(_, line)| line.contains(".unwrap()"));
        broken.extend(hits.map(|(line, _)| format!("{file}:{line}")));
    }
    none(broken, "`expect` says why it cannot happen");
}

#[test]
fn the_pure_crates_read_no_clock_and_draw_no_entropy() {
    let words = ["std::time", "std::fs", "std::net", "std::thread", "std::env", "Instant::now"];
    let mut broken = Vec::new();
    for (file, text) in sources() {
        if file.starts_with("crates/tree/src") || file.starts_with("crates/methods/src") {
            let hits = code(&text).filter(|(_, line)| words.iter().any(|word| line.contains(word)));
            broken.extend(hits.map(|(line, _)| format!("{file}:{line}")));
        }
    }
    none(broken, "tree and methods do no IO and read no clock (INV-1)");
}

#[test]
fn files_stay_small_enough_to_hold_in_mind() {
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let method = file.starts_with("crates/methods/src/") && file.matches('/').count() > 3;
        let lines_max = if method { 300 } else { 600 };
        let lines = text.lines().count();
        if lines > lines_max {
            broken.push(format!("{file}: {lines} lines, at most {lines_max}"));
        }
        for (n, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            let whole = line.contains("://") || line.contains('"') || line.contains("{%");
            let pattern = line.trim_start().starts_with("let ") && line.trim_end().ends_with("} =");
            if columns > 100 && !whole && !pattern && !line.contains("%}") {
                broken.push(format!("{file}:{}: {columns} columns, at most 100", n + 1));
            }
        }
    }
    none(broken, "too large");
}

#[test]
fn every_method_has_its_header_its_tree_and_its_laws() {
    let kinds = [
        "grow",
        "reward",
        "filter",
        "credit",
        "objective",
        "schedule",
        "curriculum",
        "preference",
        "estimator",
        "offline",
        "row",
        "selection",
    ];
    // They are parts of what a stage runs, and no `type` or key of it.
    let without_name = [("row", "cql"), ("offline", "bellman")];
    let sections = ["Paper:", "Idea:", "Formula:", "Reads:", "Differs:", "Degenerate:", "Control:"];
    let recipes: String = files()
        .iter()
        .filter(|file| file.starts_with("recipes/") && file.ends_with(".toml"))
        .map(|file| std::fs::read_to_string(root().join(file)).unwrap())
        .collect();
    let mut broken = Vec::new();
    for (file, text) in sources() {
        let Some(rest) = file.strip_prefix("crates/methods/src/") else { continue };
        let Some((kind, name)) = rest.split_once('/') else { continue };
        let name = name.trim_end_matches(".rs");
        if !kinds.contains(&kind) || name == "mod" || !text.contains("pub struct Config") {
            continue;
        }
        let missing = sections.iter().filter(|s| !text.contains(&format!("//! {s}")));
        broken.extend(missing.map(|section| format!("{file}: no `{section}`")));
        if !text.contains("#[cfg(test)]") {
            broken.push(format!("{file}: no worked example in tests"));
        }
        if ["reward", "credit"].contains(&kind) && !text.contains("laws::check") {
            broken.push(format!("{file}: no law line"));
        }
        // A selection is a stage of its name, the loss of values that of every critic, a loss of
        // rows a table of a stage.
        let used = match (kind, name) {
            ("selection", _) => format!("\n[stage.{name}]\n"),
            ("objective", "value_loss") => "\ncritic = {".to_owned(),
            ("row", _) => format!("\n{name} = {{"),
            _ => format!("\"{name}\""),
        };
        if !without_name.contains(&(kind, name)) && !recipes.contains(&used) {
            broken.push(format!("{file}: no recipe uses `{name}` (INV-24)"));
        }
    }
    none(broken, "a method is not finished");
}

#[test]
fn nothing_is_skipped_in_silence_and_nothing_is_left_for_later() {
    // Put together here, so that this file does not trip over itself.
    let words = ["#[ig", "tod", "unimpl", "FIX", "XX"];
    let tails = ["nore", "o!(", "emented!", "ME", "X:"];
    let banned: Vec<String> = words.iter().zip(tails).map(|(a, b)| format!("{a}{b}")).collect();
    let mut broken = Vec::new();
    for (file, text) in sources() {
        for (n, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word.as_str())) {
                broken.push(format!("{file}:{}", n + 1));
            }
        }
    }
    none(broken, "a test that does not run, or work left open");
}

#[test]
fn the_tree_holds_no_blobs_and_no_strangers() {
    let endings = [
        "rs",
        "toml",
        "md",
        "json",
        "jsonl",
        "lock",
        "py",
        "sh",
        "svg",
        "txt",
        "safetensors",
        "sql",
        "gitignore",
        "yml",
        "jinja",
        "proptest-regressions",
        "csv",
        "cu",
        // Runs of earlier versions, which later ones must open.
        "sqlite",
    ];
    let bare = ["run", "LICENSE-MIT", "LICENSE-APACHE", ".gitignore", "pytorch"];
    let mut broken = Vec::new();
    for file in files() {
        let bytes = std::fs::metadata(root().join(&file)).unwrap().len();
        if bytes > 1 << 20 {
            broken.push(format!("{file}: {bytes} bytes, at most 1 MiB"));
        }
        let name = file.rsplit('/').next().unwrap();
        let ending = name.rsplit('.').next().unwrap();
        if !endings.contains(&ending) && !bare.contains(&name) {
            broken.push(format!("{file}: a file type outside the list"));
        }
        let stem = name.split('.').next().unwrap();
        if name.ends_with(".rs") && ["utils", "helpers", "common", "manager"].contains(&stem) {
            broken.push(format!("{file}: a name that has not found its noun"));
        }
    }
    none(broken, "does not belong here");
}

/// A planted bug that nobody switches on, and a number that stands for two bugs, prove nothing.
#[test]
fn every_planted_bug_has_its_line_and_every_line_its_bug() {
    let table = std::fs::read_to_string(root().join("xtask/src/mutants.rs")).unwrap();
    let count = std::fs::read_to_string(root().join("crates/mutant/src/lib.rs")).unwrap();
    let lines = table.lines().filter_map(|line| {
        let (number, rest) = line.trim().split_once(", \"")?;
        Some((number.parse::<usize>().ok()?, rest.split_once('"')?.0.to_owned()))
    });
    let lines: Vec<(usize, String)> = lines.collect();
    let numbers: Vec<usize> = lines.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=lines.len()).collect::<Vec<_>>());
    assert!(count.contains(&format!("COUNT: u32 = {};", lines.len())), "COUNT is another number");
    let mut broken = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| file.starts_with("crates/")) {
        let own = file.trim_start_matches("crates/");
        if own.starts_with("mutant/") || is_test(file) {
            continue;
        }
        for (at, _) in text.match_indices("planted(") {
            let number = text[at + 8..].split(')').next().unwrap().parse::<usize>();
            let line = number.ok().and_then(|number| lines.get(number.checked_sub(1)?));
            if line.is_none_or(|(_, file)| file != own) {
                broken.push(format!("{file}: a planted bug without its line"));
            }
        }
    }
    for (number, file) in &lines {
        let text = std::fs::read_to_string(root().join("crates").join(file)).unwrap();
        if !text.contains(&format!("planted({number})")) {
            broken.push(format!("{file}: bug {number} is not there"));
        }
    }
    none(broken, "the table of planted bugs and the sources differ");
}

#[test]
fn every_module_is_reachable() {
    let all = sources();
    let mut broken = Vec::new();
    for (file, _) in &all {
        let Some((folder, name)) = file.rsplit_once('/') else { continue };
        let entry = ["lib.rs", "main.rs", "mod.rs"].contains(&name);
        let unit = folder.ends_with("/tests")
            || folder.ends_with("/benches")
            || folder.ends_with("examples")
            || folder.ends_with("/bin");
        if entry || unit || name == "build.rs" {
            continue;
        }
        let stem = name.trim_end_matches(".rs");
        let declared = all.iter().any(|(other, text)| {
            let beside = other.rsplit_once('/').map(|(place, _)| place) == Some(folder);
            let above = other.trim_end_matches(".rs") == folder;
            let named = text.contains(&format!("mod {stem};"))
                || text.contains(&format!("#[path = \"{name}\"]"));
            (beside || above) && named
        });
        if !declared {
            broken.push(format!("{file}: no `mod {stem};` names it"));
        }
    }
    none(broken, "a dead file");
}
