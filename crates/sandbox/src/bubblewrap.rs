//! What bubblewrap is told: L2 to L5 and L10. The mechanism is its, the policy ours.
//!
//! Every namespace is spelled out: the forms that try, and the one that takes all, go on silently
//! where one is missing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::holes::{self, Holes};
use crate::jail::WORKSPACE;
use crate::layer::LayerError;
use crate::layer::identity::NOBODY;

/// Where Linux distributions put programs.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/local/bin", "/bin"];
/// Devices of a jail, all harmless.
pub(crate) const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];
/// Files of `/etc` that a loader and an interpreter look for.
const ETC: &[&str] = &["/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"];

/// bubblewrap on this machine.
pub(crate) fn find() -> Option<PathBuf> {
    FOLDERS.iter().map(|folder| Path::new(folder).join("bwrap")).find(|file| file.is_file())
}

/// What to say where there is none.
pub(crate) fn missing() -> LayerError {
    let cause = "`bwrap` is not in /usr/bin, /usr/local/bin or /bin; install bubblewrap \
                 (on Debian: `apt-get install bubblewrap`)";
    LayerError::named("bubblewrap", cause.to_owned())
}

/// Why a folder of the host cannot be shown in a jail at its own path.
pub(crate) fn unfit(folder: &Path) -> Option<String> {
    let shown = folder.display();
    if !folder.is_absolute() {
        return Some(format!("`{shown}` must be an absolute path to be read in a jail"));
    }
    let own = [WORKSPACE, "/usr", "/proc", "/dev", "/tmp"];
    let hidden = own.into_iter().find(|path| Path::new(path).starts_with(folder))?;
    Some(format!("`{shown}` would hide `{hidden}` of a jail; name the folders below it to read"))
}

/// Its arguments, but for the program.
pub(crate) fn arguments(
    environment: &BTreeMap<String, String>,
    read: &[PathBuf],
    workspace_bytes: u64,
    holes: &Holes,
) -> Vec<OsString> {
    let nobody = NOBODY.to_string();
    let mut list = words(&["--unshare-user", "--uid", &nobody, "--gid", &nobody]);
    let unless = |hole: &str, arguments: &[&str]| match holes.has(hole) {
        true => Vec::new(),
        false => words(arguments),
    };
    list.extend(unless(
        holes::NAMESPACES,
        &[
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--unshare-cgroup",
            "--disable-userns",
            "--hostname",
            "jail",
        ],
    ));
    list.extend(unless(holes::SESSION, &["--new-session", "--die-with-parent"]));
    list.extend(unless(holes::ENVIRONMENT, &["--clearenv"]));
    let capabilities = if holes.has(holes::CAPABILITIES) { "--cap-add" } else { "--cap-drop" };
    list.extend(words(&[capabilities, "ALL"]));
    let usual = [
        ("PATH", "/usr/bin:/bin"),
        ("HOME", WORKSPACE),
        ("TMPDIR", WORKSPACE),
        ("LANG", "C.UTF-8"),
    ];
    let own = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in usual.into_iter().chain(own) {
        list.extend(words(&["--setenv", name, value]));
    }
    list.extend(runtime());
    list.extend(words(&["--proc", "/proc"]));
    list.extend(unless(holes::ROOT, &["--ro-bind", "/proc/sys", "/proc/sys"]));
    for device in DEVICES {
        let path = format!("/dev/{device}");
        list.extend(words(&["--dev-bind", &path, &path]));
    }
    let size = workspace_bytes.to_string();
    list.extend(words(&["--size", &size, "--tmpfs", WORKSPACE, "--chdir", WORKSPACE]));
    // Behind the workspace, so that one of them may lie below its path.
    for folder in read {
        list.extend(["--ro-bind".into(), folder.into(), folder.into()]);
    }
    // Where one of them lies in /tmp, that is a folder already, which nobody can write.
    if !read.iter().any(|folder| folder.starts_with("/tmp")) {
        list.extend(words(&["--symlink", "work", "/tmp"]));
    }
    if let Some(folder) = holes.folder() {
        list.extend(words(&["--bind", folder, folder]));
    }
    list.extend(unless(holes::ROOT, &["--remount-ro", "/"]));
    list
}

/// What Landlock lets a program read: the same folders, and what the kernel tells of itself.
pub(crate) fn readable(read: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/usr"), PathBuf::from("/proc")];
    let etc = ETC.iter().map(PathBuf::from).filter(|path| path.exists());
    paths.extend(etc);
    paths.extend(merged().filter(|path| !is_link(path)));
    paths.extend(read.iter().cloned());
    paths
}

/// `/usr`, and the folders beside it that are links into it where distributions merged them.
fn runtime() -> Vec<OsString> {
    let mut list = words(&["--ro-bind", "/usr", "/usr"]);
    for folder in merged() {
        match std::fs::read_link(&folder) {
            Ok(target) => list.extend(["--symlink".into(), target.into(), folder.into()]),
            Err(_) => list.extend(["--ro-bind".into(), folder.clone().into(), folder.into()]),
        }
    }
    for file in ETC {
        list.extend(words(&["--ro-bind-try", file, file]));
    }
    list
}

fn merged() -> impl Iterator<Item = PathBuf> {
    ["/bin", "/sbin", "/lib", "/lib64"].into_iter().map(PathBuf::from).filter(|path| path.exists())
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_symlink())
}

fn words<W: AsRef<OsStr>>(list: &[W]) -> Vec<OsString> {
    list.iter().map(|word| word.as_ref().to_owned()).collect()
}
