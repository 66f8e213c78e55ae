//! What the child has given away, as the kernel tells it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use stepwell_env::EnvError;
use stepwell_env::sql::config::Sandbox;
use stepwell_env::sql::{Config, Source, SqlEnvironment, Standing};

use crate::{message, shop};

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no `{name}` in {text}")).trim().to_owned()
}

fn descriptors(pid: u32) -> Vec<PathBuf> {
    let list = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut links: Vec<PathBuf> =
        list.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap()).collect();
    links.sort();
    links
}

pub(crate) fn the_child_has_given_its_rights_away() {
    // A descriptor that everything started from here inherits, as a careless shell leaves one.
    let secret = tempfile::tempfile().unwrap();
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let shop = shop::environment(Config::default());
    let pid = shop.child_id().unwrap();
    assert_eq!(status(pid, "Seccomp"), "2");
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "CapEff"), "0000000000000000");
    assert_eq!(status(pid, "Threads"), "1");
    let ids = status(pid, "Uid") + "\t" + &status(pid, "Gid");
    assert!(ids.split_whitespace().all(|id| id != "0"), "{ids}");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for (name, value) in
        [("Max processes", "0"), ("Max file size", "0"), ("Max core file size", "0")]
    {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{line}");
    }
    let space = limits.lines().find(|line| line.starts_with("Max address space")).unwrap();
    assert!(!space.contains("unlimited"), "{space}");
    assert_eq!(std::fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    // Pipes, the database twice (for queries, and for its twins), and its own size.
    let database = shop.folder.path().canonicalize().unwrap().join("shop.sqlite");
    let links = descriptors(pid);
    let known = |link: &PathBuf| {
        link.to_string_lossy().starts_with("pipe:[")
            || *link == database
            || *link == PathBuf::from(format!("/proc/{pid}/statm"))
    };
    assert!(links.iter().all(known), "{links:?}");
    assert_eq!(links.iter().filter(|link| **link == database).count(), 2, "{links:?}");
    // It still does what it is for.
    assert_eq!(message(shop.databases()["shop"].original(), "SELECT * FROM customer"), "10 rows");
    drop(secret);
}

/// Runs where some calls answer as on a kernel that does not have them.
fn without<T: Send>(calls: &[i64], work: impl FnOnce() -> T + Send) -> T {
    let rules: BTreeMap<i64, _> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    let run = move || {
        apply_filter(&program).unwrap();
        work()
    };
    // The filter ends with the thread, and what it starts has it, too.
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

pub(crate) fn a_machine_without_a_layer_is_refused_or_marked() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::file(&crate::world::write(folder.path()));
    let open = |sandbox| {
        let sources = BTreeMap::from([("shop".to_owned(), source.clone())]);
        let config = Config { sandbox, ..Config::default() };
        without(&[libc::SYS_landlock_create_ruleset], || SqlEnvironment::new(sources, &[], config))
    };
    let error = open(Sandbox::Full).map(|_| ()).unwrap_err();
    assert!(matches!(error, EnvError::Sandbox { .. }) && error.is_of_the_machine(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("sandbox: landlock unavailable: "), "{text}");
    assert!(text.contains("`environment.sandbox = \"weak\"`"), "{text}");
    let weak = open(Sandbox::Weak).unwrap();
    let Standing::Weak(missing) = weak.standing() else { panic!("{}", weak.standing()) };
    assert!(missing.starts_with("landlock unavailable: "), "{missing}");
    // The other layers are there.
    let pid = weak.child_id().unwrap();
    assert_eq!((status(pid, "Seccomp"), status(pid, "CapEff")), ("2".into(), "0".repeat(16)));
    assert_eq!(message(weak.databases()["shop"].original(), "SELECT 1"), "1 rows");
    // Nothing is marked where nothing is missing.
    let config = Config { sandbox: Sandbox::Weak, ..Config::default() };
    assert_eq!(*shop::environment(config).standing(), Standing::Full);
}
