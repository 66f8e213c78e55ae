//! What an attempt would reach if it got out: canaries, listeners and a victim, all of them the
//! test's own; and what the host looks like before and after.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};

use super::attempts::{MARK, PYTHON, Where};
use super::processes::{is_root, random, tagged};

pub(crate) const SURROUNDINGS: &str = include_str!("programs/surroundings.py");
/// Who jails of root run as.
const NOBODY: u32 = 65534;
const VICTIM: &str = include_str!("programs/victim.py");
/// The host's side. Gone when dropped.
pub(crate) struct Host {
    pub(crate) base: tempfile::TempDir,
    /// The canary's value.
    pub(crate) secret: String,
    /// What finds every process of this host's programs.
    pub(crate) tag: String,
    /// Connections and datagrams that came in.
    pub(crate) calls: Arc<AtomicUsize>,
    /// What programs are told.
    pub(crate) facts: Json,
    victim: Child,
    home: Option<tempfile::NamedTempFile>,
}

impl Host {
    pub(crate) fn new() -> Host {
        let base = tempfile::Builder::new().prefix("stepwell-escape-").tempdir().unwrap();
        let (secret, tag) = (format!("{MARK}{}", random()), random());
        let path = |name: &str| base.path().join(name);
        for name in ["run", "cwd", "folder", "runtime"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        open_to_all(base.path());
        for name in ["folder", "runtime"] {
            mode(&path(name), 0o777);
        }
        let canaries = ["canary", "run/canary", "cwd/canary", "folder/kept"];
        for name in canaries {
            std::fs::write(path(name), &secret).unwrap();
        }
        std::fs::write(path("folder/loose"), "loose").unwrap();
        std::fs::write(path("runtime/module.py"), "value = 1\n").unwrap();
        let mut secrets: Vec<PathBuf> = canaries[..3].iter().map(|name| path(name)).collect();
        let home = canary_at_home(&secret);
        secrets.extend(home.as_ref().map(|file| file.path().to_owned()));
        if is_root() {
            what_only_root_makes(base.path());
        }
        let calls = Arc::new(AtomicUsize::new(0));
        let ports = listen(base.path(), &tag, &secret, &calls);
        let (victim, told) = victim(&path("cwd"), &secret, &tag, &path("canary"));
        let mut facts = json!({
            "mark": MARK, "secrets": secrets, "folder": path("folder"), "victim": told,
            "runtime": path("runtime"), "key": format!("stepwell-{tag}"), "cgroup": "",
            "engine": std::process::id(), "devices": [path("runtime/device")],
            "unix": path("socket"), "abstract": tag, "sockets": [path("socket")],
            "race_seconds": 1.0, "sleep_seconds": 0.2, "flood_mib": 4, "inodes": 3000, "depth": 300,
        });
        facts.as_object_mut().unwrap().extend(ports);
        Host { base, secret, tag, calls, facts, victim, home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// A program amid the canaries, its standard streams piped.
    pub(crate) fn amid(
        &self,
        place: Where,
        folder: &Path,
        user: Option<u32>,
        program: &[&str],
    ) -> Command {
        let orders = json!({
            "secret": self.secret, "key": self.facts["key"], "held": self.path("canary"),
            "runtime": self.path("runtime"), "public": self.facts["public"],
            "metadata": self.facts["metadata"], "folder": folder, "tag": self.tag,
            "user": user, "program": program,
            "where": match place {
                Where::World => "world",
                Where::Terminal => "terminal",
                _ => "here",
            },
        });
        let mut command = Command::new(PYTHON);
        command.args(["-I", "-B", "-S", "-c", SURROUNDINGS, &orders.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What must be the same before and after: files, mounts and settings.
    pub(crate) fn look(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let mut folders: Vec<PathBuf> =
            ["", "run", "cwd", "folder", "runtime"].iter().map(|name| self.path(name)).collect();
        folders.extend(["/dev/shm".into(), "/dev".into()]);
        for folder in folders {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let Ok(found) = entry.path().symlink_metadata() else { continue };
                let plain = found.is_file() && entry.path().starts_with(self.base.path());
                let bytes = if plain { std::fs::read(entry.path()).unwrap() } else { Vec::new() };
                let facts = format!("{:o} {} {}", found.mode(), found.mtime(), bytes.len());
                let text =
                    format!("{facts} {}", String::from_utf8_lossy(&bytes[..bytes.len().min(64)]));
                let whole = if plain { text } else { format!("{:o}", found.mode()) };
                seen.insert(entry.path().display().to_string(), whole);
            }
        }
        seen.extend(self.home.iter().map(|file| {
            (file.path().display().to_string(), std::fs::read_to_string(file.path()).unwrap())
        }));
        let settings = [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/kernel/modprobe",
            "/proc/self/mountinfo",
        ];
        for path in settings {
            seen.insert(path.to_owned(), std::fs::read_to_string(path).unwrap_or_default());
        }
        seen
    }

    /// The processes of this host's programs that run: their words, or their environment, hold the
    /// tag. Not the victim.
    pub(crate) fn left(&self) -> Vec<u32> {
        tagged(&self.tag).into_iter().filter(|process| *process != self.victim.id()).collect()
    }

    /// Ends the victim and tells what its memory holds.
    pub(crate) fn end_of_the_victim(mut self) -> String {
        drop(self.victim.stdin.take());
        let mut said = String::new();
        self.victim.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.victim.wait().unwrap().success(), "the victim died");
        said
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.victim.stdin.take());
        let _ = self.victim.wait();
    }
}

fn open_to_all(folder: &Path) {
    mode(folder, 0o755);
}

fn mode(path: &Path, bits: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
}

/// One more canary, in the home of who runs the test.
fn canary_at_home(secret: &str) -> Option<tempfile::NamedTempFile> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let mut file = tempfile::Builder::new().prefix(".stepwell-canary-").tempfile_in(home).ok()?;
    file.write_all(secret.as_bytes()).unwrap();
    mode(file.path(), 0o644);
    Some(file)
}

/// A device, a program that runs as root, a file that belongs to the user of jails.
fn what_only_root_makes(base: &Path) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let device = base.join("runtime/device");
    let bits = Mode::from_raw_mode(0o666);
    mknodat(CWD, &device, FileType::CharacterDevice, bits, makedev(1, 5)).unwrap();
    mode(&device, 0o666);
    let program = base.join("runtime/as_root");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    mode(&program, 0o4755);
    let loose = base.join("folder/loose");
    std::os::unix::fs::chown(loose, Some(NOBODY), Some(NOBODY)).unwrap();
}

/// Listeners of every kind that count who comes and hand out the canary.
fn listen(
    base: &Path,
    tag: &str,
    secret: &str,
    calls: &Arc<AtomicUsize>,
) -> serde_json::Map<String, Json> {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut ports = serde_json::Map::new();
    ports.insert("tcp".into(), tcp.local_addr().unwrap().port().into());
    ports.insert("udp".into(), udp.local_addr().unwrap().port().into());
    let tcp6 = TcpListener::bind("[::1]:0").ok();
    let port = tcp6.as_ref().map_or(1, |tcp6| tcp6.local_addr().unwrap().port());
    ports.insert("tcp6".into(), port.into());
    for name in ["inbound", "public", "metadata"] {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        ports.insert(name.into(), free.local_addr().unwrap().port().into());
    }
    let unix = UnixListener::bind(base.join("socket")).unwrap();
    mode(&base.join("socket"), 0o777);
    let name = SocketAddr::from_abstract_name(tag).unwrap();
    let hidden = UnixListener::bind_addr(&name).unwrap();
    for listener in [Some(tcp), tcp6].into_iter().flatten() {
        answer(secret, calls, move || listener.accept().map(|(stream, _)| stream));
    }
    for listener in [unix, hidden] {
        answer(secret, calls, move || listener.accept().map(|(stream, _)| stream));
    }
    let calls = Arc::clone(calls);
    std::thread::spawn(move || {
        while udp.recv(&mut [0; 100]).is_ok() {
            calls.fetch_add(1, Ordering::SeqCst);
        }
    });
    ports
}

/// Answers whoever calls with the canary, until the program ends.
fn answer<S: std::io::Read + std::io::Write>(
    secret: &str,
    calls: &Arc<AtomicUsize>,
    accept: impl Fn() -> std::io::Result<S> + Send + 'static,
) {
    let (secret, calls) = (secret.to_owned(), Arc::clone(calls));
    std::thread::spawn(move || {
        while let Ok(mut stream) = accept() {
            calls.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(secret.as_bytes());
            // What the caller sends, so that it does not write into a closed stream.
            let _ = stream.read(&mut [0; 100]);
        }
    });
}

/// Starts the victim: of the user that jails run as, where the test may choose.
fn victim(folder: &Path, secret: &str, tag: &str, canary: &Path) -> (Child, Json) {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(PYTHON);
    command.args(["-I", "-B", "-S", "-c", VICTIM, secret, &format!("stepwell-{tag}")]);
    command.arg(canary).env("SECRET", secret).current_dir(folder);
    if is_root() {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = Vec::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    (child, serde_json::from_slice(&line).unwrap())
}
