//! The `sql` environment with its queries in a confined child, as the shipped program runs it.
//!
//! The program's `main` is its own, because it starts itself as that child. Tests run one after
//! the other: they count processes and kill some.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod alike;
mod bounds;
mod confined;
mod ends;
mod files;
#[path = "../programs/mod.rs"]
mod programs;
#[path = "../refusals/mod.rs"]
mod refusals;
#[path = "../shop/mod.rs"]
mod shop;
#[path = "../world/mod.rs"]
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use stepwell_env::sql::{CHILD, Store};

fn main() -> ExitCode {
    if let Some(code) = stepwell_sandbox::enter(&[CHILD]) {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == ends::PARENT) {
        return ends::parent(words.get(1).map(String::as_str));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    macro_rules! trials {
        ($($module:ident :: $name:ident),* $(,)?) => {
            vec![$(Trial::test(stringify!($name), || {
                $module::$name();
                Ok(())
            })),*]
        };
    }
    let trials = trials![
        alike::refusals_have_the_same_messages_and_leave_no_file,
        alike::laws_hold_and_no_cheat_pays,
        alike::every_gold_query_of_generated_worlds_answers_alike_here_and_there,
        alike::derived_twins_answer_alike_here_and_there,
        alike::many_threads_are_answered_alike,
        bounds::what_is_slow_inside_one_instruction_is_ended_and_judged,
        bounds::what_takes_too_much_memory_is_judged,
        bounds::empty_texts_are_not_free,
        confined::the_child_has_given_its_rights_away,
        confined::a_machine_without_a_layer_is_refused_or_marked,
        ends::a_killed_child_is_replaced_and_the_query_answered,
        ends::a_child_that_is_killed_each_time_leaves_no_verdict_and_no_memory_of_it,
        ends::nothing_is_left_after_the_environment,
        ends::the_child_ends_with_a_killed_parent,
        files::a_file_that_is_no_database_is_named,
        files::damaged_files_never_take_the_parent_down,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A query's message, or `N rows`.
fn message(store: &Store, sql: &str) -> String {
    match &store.query(sql).unwrap().outcome {
        Ok(table) => format!("{} rows", table.rows.len()),
        Err(error) => error.to_string(),
    }
}
