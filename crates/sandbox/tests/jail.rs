//! Jails as an engine uses them: what comes out, what ends, what is left behind.

#![expect(clippy::print_stdout, reason = "a passing test tells what it took")]

mod support;

use std::process::ExitCode;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use serde_json::json;
use stepwell_sandbox::jail::{Jail, Limits, Program};
use stepwell_sandbox::probe;
use stepwell_sandbox::python::{Python, Session, Step, Value, grade};
use support::cannot_run;

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[]) {
        return code;
    }
    let tests: Vec<Trial> = vec![
        Trial::test("a_command_reads_writes_and_ends", || ok(a_command_reads_writes_and_ends)),
        Trial::test("an_interpreter_keeps_its_variables", || {
            ok(an_interpreter_keeps_its_variables)
        }),
        Trial::test("a_function_is_called_on_every_case", || {
            ok(a_function_is_called_on_every_case)
        }),
        Trial::test("every_layer_holds_by_its_probe", || ok(every_layer_holds_by_its_probe)),
        Trial::test("only_plain_files_of_its_own_leave", || ok(only_plain_files_of_its_own_leave)),
        Trial::test("folders_to_read_hide_nothing", || ok(folders_to_read_hide_nothing)),
    ];
    if cannot_run("jail", &tests) {
        return ExitCode::SUCCESS;
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn ok(test: fn()) -> Result<(), libtest_mimic::Failed> {
    test();
    Ok(())
}

fn shell(script: &str) -> Program {
    Program {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..Program::default()
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn a_command_reads_writes_and_ends() {
    let program =
        shell("cat; echo to stderr >&2; echo made > made; ls -la / /proc/self/fd >&2; exit 3");
    let done = Jail::run(&program, &Limits::default(), b"given\n", 10_000, soon()).unwrap();
    assert_eq!(done.status.code(), Some(3), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(done.stdout, b"given\n");
    assert!(!done.cut && !done.late);
    assert_eq!(done.workspace.read("made", 100).unwrap(), b"made\n");
}

fn ran(text: &str) -> Step {
    Step::Ran { text: text.to_owned(), cut: false, error: None }
}

fn an_interpreter_keeps_its_variables() {
    let mut session = Session::start(&Python::default()).unwrap();
    assert_eq!(session.step("x = 20"), ran(""));
    assert_eq!(session.step("print('a')\nx + 1"), ran("a\n21\n"));
    let Step::Ran { error, .. } = session.step("y = 1\n1 / 0") else { panic!() };
    assert_eq!(error.unwrap(), "ZeroDivisionError: division by zero (line 2)");
    let Step::Ran { error, .. } = session.step("def") else { panic!() };
    assert_eq!(error.unwrap(), "SyntaxError: invalid syntax (line 1)");
    assert_eq!(
        session.step("import os; os.system('echo from a child'); y"),
        ran("from a child\n1\n")
    );
    let Step::Ran { text, cut, .. } = session.step("print('x' * 100000)") else { panic!() };
    assert!(cut && text.len() == 2000, "{}", text.len());
    assert_eq!(session.step("open('out.txt', 'w').write('kept')"), ran("4\n"));
    let Step::Ran { error, .. } = session.step("while True: pass") else { panic!() };
    assert_eq!(error.unwrap(), "TimeoutError: the step used more than 5 s of processor time");
    assert_eq!(session.step("x"), ran("20\n"));
    assert_eq!(session.step("import os; os._exit(0)"), Step::Gone("the interpreter ended".into()));
    assert_eq!(session.end().read("out.txt", 10).unwrap(), b"kept");
}

fn a_function_is_called_on_every_case() {
    let code = "def f(a, b):\n    return (a, [b, None, True, 1.5, 'x'], {'k': a})";
    let cases = vec![vec![json!(1), json!("z")], vec![json!(1)]];
    let outcomes = grade(&Python::default(), code, "f", &cases).unwrap();
    let int = || Value::Int("1".to_owned());
    assert_eq!(
        outcomes[0],
        Ok(Value::Tuple(vec![
            int(),
            Value::List(vec![
                Value::Str("z".to_owned()),
                Value::None,
                Value::Bool(true),
                Value::Float(1.5),
                Value::Str("x".to_owned())
            ]),
            Value::Dict(vec![("k".to_owned(), int())]),
        ]))
    );
    assert!(outcomes[1].as_ref().unwrap_err().starts_with("TypeError: f() missing 1"));
}

/// What a program leaves to be read, in Python.
const LEAVINGS: &str = r#"
import os, socket
def put(name, text="own"):
    with open(name, "w") as file:
        file.write(text)
put("plain")
os.mkfifo("pipe")
socket.socket(socket.AF_UNIX).bind("socket")
os.mkdir("folder")
put("folder/plain")
os.symlink("plain", "link")
os.symlink("folder", "way")
os.symlink("/etc/passwd", "host")
os.symlink("/proc/self/fd/0", "magic")
os.symlink("loop", "loop")
os.link("plain", "hard")
put("line\nbreak")
put("n" * 255)
put("\udcff")
with open("sparse", "w") as file:
    file.truncate(16 << 20)
put("long", "x" * 101)
put("secret")
os.chmod("secret", 0)
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
put("bottom")
"#;

fn only_plain_files_of_its_own_leave() {
    let command = ["/usr/bin/python3", "-I", "-S", "-c", LEAVINGS].map(str::to_owned).to_vec();
    let program = Program { command, ..Program::default() };
    let done = Jail::run(&program, &Limits::default(), b"", 10_000, soon()).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // A host that waits, waits for ever: it is ended instead, so that the test fails.
    let (read, all) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if all.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            println!("the host waits for what a jail left");
            std::process::exit(1);
        }
    });
    let begun = Instant::now();
    let deep = "d/".repeat(1500) + "bottom";
    let name = "n".repeat(255);
    for path in ["plain", "./plain", "folder/plain", "hard", "line\nbreak", &name, &deep] {
        assert_eq!(done.workspace.read(path, 100).unwrap(), b"own", "{path}");
    }
    assert_eq!(done.workspace.read("plain", 3).unwrap(), b"own");
    assert!(done.workspace.read("plain", 2).unwrap_err().to_string().contains("longer than 2"));
    let refused = [
        ("pipe", "not a plain file"),
        ("socket", "No such device"),
        ("folder", "not a plain file"),
        (".", "not a plain file"),
        ("link", "symbolic links"),
        ("way/plain", "symbolic links"),
        ("host", "symbolic links"),
        ("magic", "symbolic links"),
        ("loop", "symbolic links"),
        ("..", "cross-device"),
        ("folder/../../work/plain", "cross-device"),
        ("/plain", "relative to the workspace"),
        ("/etc/passwd", "relative to the workspace"),
        ("plain/", "Not a directory"),
        ("", "No such file"),
        ("nothing", "No such file"),
        ("pl\0ain", "Invalid argument"),
        ("long", "longer than 100 bytes"),
        ("sparse", "longer than 100 bytes"),
    ];
    for (path, why) in refused {
        let error = done.workspace.read(path, 100).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(&why.to_lowercase()), "{path}: {error}");
    }
    let far = "d/".repeat(10_000);
    assert!(done.workspace.read(&far, 100).unwrap_err().to_string().contains("name too long"));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    drop(read);
}

/// A folder of the host can lie below a path that the jail uses itself, and hides none of them.
fn folders_to_read_hide_nothing() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::write(folder.path().join("data"), "data\n").unwrap();
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let shown = folder.path().display();
    let script = format!("cat {shown}/data; echo x > {shown}/data; echo own > own; cat own");
    let program = Program { read: vec![folder.path().to_owned()], ..shell(&script) };
    let done = Jail::run(&program, &Limits::default(), b"", 100, soon()).unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "data\nown\n", "{done:?}");
    for path in ["/", "/work", "/usr", "/proc", "/dev", "/tmp", "data", "../x"] {
        let program = Program { read: vec![path.into()], ..shell("true") };
        let error = Jail::run(&program, &Limits::default(), b"", 100, soon()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("`{path}`")), "{error}");
        assert!(error.contains("would hide") || error.contains("absolute"), "{error}");
    }
}

fn every_layer_holds_by_its_probe() {
    let grade = probe::jail(false);
    assert_eq!(grade.missing, None);
    let open: Vec<_> = grade.findings.iter().filter(|f| !f.holds && f.layer != "cgroups").collect();
    assert!(open.is_empty(), "{open:#?}");
    let findings = probe::confined_child().unwrap();
    assert!(findings.iter().all(|finding| finding.holds), "{findings:#?}");
    assert!(probe::python(&Python::default()).unwrap().starts_with('3'));
}
