//! Programs behind the door, written in the shell, so that a test needs nothing but what the door
//! itself needs.

use std::path::Path;
use std::time::Duration;

use stepwell_env::external::{Config, Limits};

/// Reads requests and answers them; the words in capitals are what a test puts in. `$id` is the
/// request's number, `$ep` its episode, `$into` the episode that a fork makes, and `$n` counts the
/// steps of the episode.
const PROGRAM: &str = r#"
IFS=
reply() { printf '{"id":%s,%s}\n' "$id" "$1"; }
number() { value=${line#*"\"$1\":"}; value=${value%%[!0-9]*}; }
while read -r line; do
  number id; id=$value
  number episode; ep=$value
  case $line in
  *'"method":"hello"'*) HELLO ;;
  *'"method":"start"'*) eval "n_$ep=0"; reply '"ok":true' ;;
  *'"method":"step"'*)
    eval "n=\$n_$ep"
    case $n in ''|over) reply '"error":"no such episode"'; continue ;; esac
    n=$((n + 1)); eval "n_$ep=$n"
    STEP ;;
  *'"method":"fork"'*) number into; into=$value; FORK ;;
  *'"method":"end"'*) eval "n_$ep=over"; reply '"ok":true' ;;
  *'"method":"grade"'*) GRADE ;;
  *'"method":"tasks"'*) TASKS ;;
  *'"method":"close"'*) exit 0 ;;
  *) UNKNOWN ;;
  esac
done
"#;

/// A program that keeps every law: two observations, then a verdict.
pub(crate) struct Shell {
    pub(crate) hello: String,
    pub(crate) step: String,
    pub(crate) fork: String,
    pub(crate) grade: String,
    pub(crate) tasks: String,
    pub(crate) unknown: String,
}

pub(crate) const OBSERVE: &str = r#"reply "\"observation\":\"step $n\"""#;
pub(crate) const JUDGE: &str =
    r#"eval "n_$ep=over"; reply '"verdict":{"reward":0.5,"parts":{"format":1}}'"#;

/// A step that answers with one line of exactly so many bytes.
#[allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]
pub(crate) fn reply_of(bytes: usize) -> String {
    format!(
        r#"head="{{\"id\":$id,\"observation\":\""; pad=$(({bytes} - ${{#head}} - 2))
        printf '%s' "$head"; head -c $pad /dev/zero | tr '\0' x; printf '"}}\n'"#
    )
}

impl Default for Shell {
    fn default() -> Self {
        let hello = r#"reply '"protocol":1,"name":"shell","offers":["episodes","fork","grade",
            "tasks"],"parts":["format"],"stop":["."],"reward":[0,1]'"#;
        Shell {
            hello: hello.lines().map(str::trim_start).collect(),
            step: format!("if [ $n -lt 3 ]; then {OBSERVE}; else {JUDGE}; fi"),
            fork: r#"eval "n_$into=\$n_$ep"; reply '"ok":true'"#.to_owned(),
            grade: r#"reply '"verdict":{"reward":1,"parts":{"format":0}}'"#.to_owned(),
            tasks: r#"reply '"tasks":[{"id":"a","question":"q"},{"id":"b","question":"r"},
                {"id":"c","question":"s"}]'"#
                .replace("\n                ", ""),
            unknown: r#"reply '"error":"unknown method"'"#.to_owned(),
        }
    }
}

impl Shell {
    pub(crate) fn stepping(step: &str) -> Shell {
        Shell { step: step.to_owned(), ..Shell::default() }
    }

    pub(crate) fn command(&self) -> Vec<String> {
        let text = PROGRAM
            .replace("HELLO", &self.hello)
            .replace("STEP", &self.step)
            .replace("FORK", &self.fork)
            .replace("GRADE", &self.grade)
            .replace("TASKS", &self.tasks)
            .replace("UNKNOWN", &self.unknown);
        ["sh", "-c", &text].map(str::to_owned).to_vec()
    }

    /// Settings for the program, with little patience.
    pub(crate) fn config(&self) -> Config {
        let limits = Limits {
            start_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(4),
            line_bytes_max: 4096,
            ..Limits::default()
        };
        let (command, parts) = (self.command(), vec!["format".to_owned()]);
        Config { command, parts, max_steps: 5, limits, ..Config::default() }
    }
}

/// The process whose number a program wrote into a file: true once it is gone, or only its entry
/// in the table is left.
#[allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]
pub(crate) fn is_gone(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).expect("the program wrote its number");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", text.trim()));
    stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}
