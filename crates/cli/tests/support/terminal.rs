//! The binary on a terminal: a pseudo-terminal whose other end the test reads and types into.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long a command may take in all, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of a command on a terminal.
pub(crate) struct Shown {
    pub(crate) code: Option<i32>,
    /// Every byte that reached the terminal.
    pub(crate) bytes: Vec<u8>,
}

/// What somebody types once the terminal shows a text.
pub(crate) struct Typed {
    pub(crate) after: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// Runs the binary with all three streams on a terminal of so many columns, which is its
/// controlling one: Ctrl-C typed there is a signal.
pub(crate) fn on_terminal(
    folder: &Path,
    words: &[&str],
    columns: u16,
    variables: &[(&str, &str)],
    typed: &[Typed],
) -> Shown {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).unwrap();
    let slave = File::options().read(true).write(true).open(&name).unwrap();
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_stepwell")]).args(words);
    command.current_dir(folder).env_remove("COLUMNS").env_remove("NO_COLOR");
    command.env("TERM", "xterm-256color").envs(variables.iter().copied());
    let mut child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    drop((command, slave));
    let mut master = File::from(master);
    let seen = Arc::<Mutex<Vec<u8>>>::default();
    let (own, mut reader) = (Arc::clone(&seen), master.try_clone().unwrap());
    let reading = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // The end is an error of input and output: nobody holds the other side any more.
        while let Ok(read @ 1..) = reader.read(&mut buffer) {
            own.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut typed = typed.iter().peekable();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let shows = |text: &str| String::from_utf8_lossy(&seen.lock().unwrap()).contains(text);
        if let Some(next) = typed.next_if(|next| shows(next.after)) {
            master.write_all(next.bytes).unwrap();
        }
        assert!(Instant::now() < deadline, "{words:?}: {:?}", seen.lock().unwrap());
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(typed.next().is_none(), "{words:?} ended before everything was typed");
    reading.join().unwrap();
    let bytes = std::mem::take(&mut *seen.lock().unwrap());
    Shown { code: status.code(), bytes }
}

/// The stretches of text between what moves the cursor. Fails on whatever a terminal would act
/// upon but this: a new line, a return to the first column, moves of the cursor, erasing.
#[track_caller]
pub(crate) fn stretches(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut found = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' | '\n' => found.push(String::new()),
            '\x1b' => {
                assert_eq!(letters.next(), Some('['), "{text:?}");
                while letters.next_if(|c| c.is_ascii_digit() || *c == ';').is_some() {}
                let end = letters.next();
                assert!(end.is_some_and(|end| "ABCDGHJK".contains(end)), "{end:?} in {text:?}");
                found.push(String::new());
            }
            letter => found.last_mut().unwrap().push(letter),
        }
    }
    found.retain(|text| !text.trim().is_empty());
    super::refused::harmless(&found.concat());
    found
}
