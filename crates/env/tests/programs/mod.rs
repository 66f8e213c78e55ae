//! Scripted attempts: the steps of a program, and the cheats that must not pay.

/// The steps of a program, `---` between them.
pub(crate) fn steps(text: &str) -> Vec<String> {
    text.split("\n---\n").map(|step| step.trim_end().to_owned()).collect()
}

/// The cheats of an environment at one of its tasks: `(name, steps)`.
pub(crate) fn cheats(environment: &str, task: &str) -> Vec<(String, Vec<String>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cheats");
    let mut cheats = Vec::new();
    for entry in std::fs::read_dir(folder.join(environment)).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once('\n').unwrap();
        let (_why, program) = rest.split_once('\n').unwrap();
        if head.strip_prefix("task: ").unwrap() == task {
            cheats.push((path.file_stem().unwrap().to_string_lossy().into_owned(), steps(program)));
        }
    }
    cheats.sort();
    cheats
}
