//! How children end: killed, with their environment, with their parent (P14).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stepwell_env::sql::config::Limits;
use stepwell_env::sql::{Config, Value};
use stepwell_tree::{Environment, Key, Purpose, Stop, Turn, UnscoredReason, Verdict};

use crate::shop::{self, Shop};

/// The first word of this program as one that opens the shop, says which child it has, and waits,
/// idle or over a query.
pub(crate) const PARENT: &str = "parent";

pub(crate) fn parent(word: Option<&str>) -> ExitCode {
    let shop = shop::environment(patient());
    let mut out = std::io::stdout();
    writeln!(out, "{}", shop.child_id().unwrap_or(0)).unwrap();
    out.flush().unwrap();
    if word == Some("asking") {
        let _ = shop.databases()["shop"].original().query(LONG);
    }
    std::thread::sleep(Duration::from_secs(60));
    ExitCode::SUCCESS
}

/// About a second of counting, and then an answer.
const LONG: &str = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000000) \
                    SELECT count(*) FROM c";

fn patient() -> Config {
    let limits = Limits { steps_max: 1_000_000_000, seconds_max: 60, ..Limits::default() };
    Config { limits, ..Config::default() }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    // It may have ended meanwhile.
    let _ = kill_process(pid, Signal::KILL);
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn gone_within(pid: u32, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while is_there(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    !is_there(pid)
}

/// Asks while another thread kills: once, or each child that there is.
fn asked_under_fire(shop: &Shop, always: bool) -> Result<Value, String> {
    let over = AtomicBool::new(false);
    let fire = || {
        let mut last = 0;
        while !over.load(Ordering::Relaxed) {
            let pid = shop.child_id().unwrap();
            if pid != last {
                std::thread::sleep(Duration::from_millis(50));
                kill(pid);
                last = pid;
                if !always {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(fire);
        let answer = shop.databases()["shop"].original().query(LONG);
        over.store(true, Ordering::Relaxed);
        let answer = answer.map_err(|lost| lost.to_string())?;
        let table = answer.outcome.as_ref().map_err(ToString::to_string)?;
        Ok(table.rows[0][0].clone())
    })
}

pub(crate) fn a_killed_child_is_replaced_and_the_query_answered() {
    let shop = shop::environment(patient());
    let first = shop.child_id().unwrap();
    assert_eq!(asked_under_fire(&shop, false), Ok(Value::Integer(3_000_000)));
    assert_ne!(shop.child_id(), Some(first));
    // Between two questions, too, and on a twin, which the next child has to build again.
    for number in 0..5 {
        kill(shop.child_id().unwrap());
        let shop = &shop.databases()["shop"];
        let sql = format!("SELECT count(*) + {number} FROM customer");
        let twin = shop.twin(number).unwrap().unwrap();
        assert!(twin.query(&sql).unwrap().outcome.is_ok());
        assert!(shop.original().query(&sql).unwrap().outcome.is_ok());
    }
}

pub(crate) fn a_child_that_is_killed_each_time_leaves_no_verdict_and_no_memory_of_it() {
    let shop = shop::environment(patient());
    let lost = asked_under_fire(&shop, true).unwrap_err();
    assert_eq!(lost, "the process that runs queries: ended (signal 9)");
    // An attempt under the same fire is unscored, at a query and at its answer.
    for program in ["intermediate_sql", "final_sql"] {
        let text = format!("<think> x </think> <{program}> {LONG} </{program}>");
        let task = &shop::tasks()[0];
        let mut episode = shop.start(task, Key::new(1, Purpose::Episode)).unwrap();
        let over = AtomicBool::new(false);
        let turn = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(50));
                    kill(shop.child_id().unwrap());
                }
            });
            let turn = episode.step(&text, Stop::StopString);
            over.store(true, Ordering::Relaxed);
            turn
        });
        let reason = UnscoredReason::EnvironmentFailed(lost.clone());
        assert_eq!(turn, Turn::End(Verdict::Unscored(reason)), "{program}");
    }
    // In peace the same query has its answer: nothing of the failure was kept.
    let answer = shop.databases()["shop"].original().query(LONG).unwrap();
    assert_eq!(answer.outcome.as_ref().unwrap().rows, [[Value::Integer(3_000_000)]]);
}

pub(crate) fn nothing_is_left_after_the_environment() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..20 {
        let shop = shop::environment(Config::default());
        let pid = shop.child_id().unwrap();
        assert!(is_there(pid));
        drop(shop);
        assert!(!is_there(pid), "the child outlives its environment, or is a zombie");
    }
    assert_eq!(open(), before, "descriptors leak");
}

pub(crate) fn the_child_ends_with_a_killed_parent() {
    for word in ["idle", "asking"] {
        let mut command = Command::new("/proc/self/exe");
        command.args([PARENT, word]).stdout(Stdio::piped());
        let mut parent = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child: u32 = line.trim().parse().unwrap();
        assert!(child > 0 && is_there(child), "{line}");
        std::thread::sleep(Duration::from_millis(50));
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert!(
            gone_within(child, Duration::from_secs(10)),
            "{word}: the child outlives its parent"
        );
    }
}
