//! Every word that reaches a terminal passes here: nothing prints raw (P18), and a reader who goes
//! away is no failure (P21).

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::visible::visible_lines;

/// True from the moment on that nobody reads stdout.
static DEAF: AtomicBool = AtomicBool::new(false);

/// Prints text to stdout as lines.
pub(crate) fn say(text: impl Display) {
    if DEAF.load(Ordering::Relaxed) {
        return;
    }
    let text = visible_lines(&text.to_string());
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush());
    // A run goes on without its reader; every other command has nothing more to do than to say
    // what nobody hears, and ends by itself.
    if written.is_err() {
        DEAF.store(true, Ordering::Relaxed);
    }
}

/// Prints a line to stderr: `error: ...`, `warning: ...`.
pub(crate) fn complain(kind: &str, text: impl Display) {
    let text = visible_lines(&format!("{kind}: {text}"));
    // Nobody can be told that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// Prints to stderr what is wrong with the words of a command line, which are repeated in it.
pub(crate) fn usage(text: impl Display) {
    // Nobody can be told that stderr is closed.
    let _ = std::io::stderr().lock().write_all(visible_lines(&text.to_string()).as_bytes());
}

/// True where a person watches who can be drawn for: both streams are terminals, and not one that
/// only prints.
pub(crate) fn watched() -> bool {
    let draws = std::env::var_os("TERM").is_none_or(|name| name != "dumb");
    std::io::stdout().is_terminal() && std::io::stderr().is_terminal() && draws
}

/// Columns that a line may take.
pub(crate) fn width() -> usize {
    let columns = if std::io::stdout().is_terminal() {
        rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col))
    } else {
        0
    };
    if columns == 0 { 100 } else { columns.clamp(40, 200) }
}
