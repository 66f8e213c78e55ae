//! Every named maximum in one table: what it is, what happens past it, how it is raised, and the
//! test that tries it. `docs/LIMITS.md` is this table.
//!
//! Ranges of a recipe's keys are not here: `stepwell recipe show` prints each beside its key.

use stepwell_env::{external, limits as env};
use stepwell_model::limits as model;

use crate::recipe;

/// Tokens that one tree may hold: places in a tree have 32 bits, and a step's tokens are one blob
/// of the record.
pub const TREE_TOKENS: u64 = 1 << 28;

/// A named maximum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Its name.
    pub name: &'static str,
    /// The largest value that is accepted; where a key sets it, the key's default.
    pub value: u64,
    /// What is counted.
    pub unit: &'static str,
    /// What happens past it.
    pub past: &'static str,
    /// How it is raised, or why it cannot be.
    pub raise: &'static str,
    /// The tests that try it, `file: name` below `crates`.
    pub test: &'static str,
}

/// All of them.
pub fn all() -> Vec<Limit> {
    let query = recipe::QueryLimits::default();
    let python = recipe::PythonSettings::default();
    let program = external::Limits::default();
    vec![
        Limit {
            name: "recipe_bytes",
            value: recipe::limits::BYTES,
            unit: "bytes of a recipe",
            past: "the recipe is refused",
            raise: "it cannot be raised: what is long belongs into files that the recipe names",
            test: "engine/tests/bad_recipes.rs: the_largest_file_is_read_and_one_byte_more_is_not",
        },
        Limit {
            name: "recipe_depth",
            value: recipe::limits::DEPTH as u64,
            unit: "levels of arrays, tables and dotted keys",
            past: "the recipe is refused",
            raise: "it cannot be raised: no key is deeper than seven",
            test: "engine/src/recipe/source.rs: depth_counts_brackets_and_dots_outside_of_text",
        },
        Limit {
            name: "recipe_stages",
            value: recipe::limits::STAGES as u64,
            unit: "stages of a recipe",
            past: "the recipe is refused",
            raise: "split the recipe; a later one starts from an exported model",
            test: "engine/tests/limits.rs: stages_and_attempts",
        },
        Limit {
            name: "recipe_problems",
            value: recipe::limits::PROBLEMS as u64,
            unit: "problems reported of a recipe",
            past: "the rest are left out, and that is said",
            raise: "mend those that are listed",
            test: "engine/tests/limits.rs: problems_are_listed_up_to_their_most",
        },
        Limit {
            name: "update_attempts",
            value: recipe::limits::ATTEMPTS,
            unit: "attempts of an update",
            past: "the recipe is refused",
            raise: "more updates of fewer attempts",
            test: "engine/tests/limits.rs: stages_and_attempts",
        },
        Limit {
            name: "tree_tokens",
            value: TREE_TOKENS,
            unit: "tokens that a tree may hold: its leaves times the tokens of a path",
            past: "the run is refused before it starts",
            raise: "lower `path_tokens` or the leaves of `grow`",
            test: "engine/tests/limits.rs: a_tree_that_could_hold_too_much_is_refused",
        },
        Limit {
            name: "watched_program_bytes",
            value: crate::problem::WATCHED_BYTES,
            unit: "bytes of a program that is watched for changes",
            past: "a larger program is not watched",
            raise: "keep what changes in a smaller file that the command names",
            test: "engine/tests/limits.rs: a_larger_program_is_not_watched",
        },
        Limit {
            name: "data_file_bytes",
            value: env::FILE_BYTES_MAX,
            unit: "bytes of a file of tasks, pairs or conversations",
            past: "the file is refused",
            raise: "split the file",
            test: "env/tests/maxima.rs: files_and_lines",
        },
        Limit {
            name: "data_line_bytes",
            value: env::LINE_BYTES_MAX as u64,
            unit: "bytes of one line of such a file",
            past: "the file is refused, with its line",
            raise: "it cannot be raised: no model reads a task as long",
            test: "env/tests/maxima.rs: files_and_lines",
        },
        Limit {
            name: "sql_query_bytes",
            value: query.query_bytes_max as u64,
            unit: "bytes of a query",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.query_bytes_max`, up to 1,000,000",
            test: "env/tests/maxima.rs: queries_and_their_results",
        },
        Limit {
            name: "sql_steps",
            value: query.steps_max,
            unit: "instructions of SQLite's machine in a query",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.steps_max`, up to 1,000,000,000",
            test: "env/tests/maxima.rs: steps_and_values_of_a_query",
        },
        Limit {
            name: "sql_rows",
            value: query.rows_max as u64,
            unit: "rows of a result",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.rows_max`, up to 1,000,000",
            test: "env/tests/maxima.rs: queries_and_their_results",
        },
        Limit {
            name: "sql_result_bytes",
            value: query.result_bytes_max as u64,
            unit: "bytes of a result",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.result_bytes_max`, up to 100,000,000",
            test: "env/tests/maxima.rs: queries_and_their_results",
        },
        Limit {
            name: "sql_value_bytes",
            value: query.value_bytes_max as u64,
            unit: "bytes of one value or row",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.value_bytes_max`, up to 10,000,000",
            test: "env/tests/maxima.rs: steps_and_values_of_a_query",
        },
        Limit {
            name: "sql_seconds",
            value: query.seconds_max,
            unit: "seconds of the processor's time in a query",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.seconds_max`, up to 3600",
            test: "env/tests/sql_child/bounds.rs: what_is_slow_inside_one_instruction_is_ended_and_judged",
        },
        Limit {
            name: "sql_memory_mib",
            value: query.memory_mib_max,
            unit: "MiB of memory of queries, beside what is open",
            past: "the query fails, and the policy is told",
            raise: "`environment.limits.memory_mib_max`, up to 1,000,000",
            test: "env/tests/sql_child/bounds.rs: what_takes_too_much_memory_is_judged",
        },
        Limit {
            name: "python_cases",
            value: env::PYTHON_CASES as u64,
            unit: "cases, and examples, of a `python` task",
            past: "the file is refused",
            raise: "fewer cases a task",
            test: "env/tests/maxima.rs: cases_of_a_function",
        },
        Limit {
            name: "python_number_digits",
            value: env::PYTHON_NUMBER_DIGITS as u64,
            unit: "digits of a whole number of a `python` task",
            past: "the file is refused",
            raise: "it cannot be raised: Python itself reads 4,300",
            test: "env/tests/maxima.rs: digits_of_a_number_in_a_task",
        },
        Limit {
            name: "python_program_bytes",
            value: env::PYTHON_PROGRAM_BYTES as u64,
            unit: "bytes of a program that answers a `python` task",
            past: "the answer earns nothing",
            raise: "programs are sources, not data",
            test: "env/tests/python.rs: a_program_has_a_length",
        },
        Limit {
            name: "python_observation_bytes",
            value: python.observation_bytes_max as u64,
            unit: "bytes of what a program printed that the policy reads",
            past: "the rest is cut, with a mark",
            raise: "`environment.observation_bytes_max`, up to 1,000,000",
            test: "env/tests/python.rs: what_is_printed_is_cut_at_its_limit",
        },
        Limit {
            name: "expression_bytes",
            value: env::EXPRESSION_BYTES as u64,
            unit: "bytes of a calculation",
            past: "the calculation fails, and the policy is told",
            raise: "it cannot be raised: a longer one is several steps",
            test: "env/tests/maxima.rs: expressions_and_answers",
        },
        Limit {
            name: "expression_depth",
            value: env::EXPRESSION_DEPTH as u64,
            unit: "parentheses inside each other",
            past: "the calculation fails, and the policy is told",
            raise: "it cannot be raised: a deeper one is several steps",
            test: "env/tests/arithmetic.rs: length_and_depth_are_bounded",
        },
        Limit {
            name: "number_digits",
            value: env::NUMBER_DIGITS as u64,
            unit: "digits of a number",
            past: "it is no number, and the policy is told",
            raise: "it cannot be raised: numbers are exact in 128 bits",
            test: "env/tests/maxima.rs: expressions_and_answers",
        },
        Limit {
            name: "answer_bytes",
            value: env::ANSWER_BYTES as u64,
            unit: "bytes of a `calculator` answer",
            past: "the answer is none",
            raise: "it cannot be raised: a number is short",
            test: "env/tests/maxima.rs: expressions_and_answers",
        },
        Limit {
            name: "math_answer_bytes",
            value: env::MATH_ANSWER_BYTES as u64,
            unit: "bytes of a `math_answer` answer",
            past: "the answer is none",
            raise: "it cannot be raised: what is compared is short",
            test: "env/tests/maxima.rs: expressions_and_answers",
        },
        Limit {
            name: "external_line_bytes",
            value: program.line_bytes_max as u64,
            unit: "bytes of one line of a program",
            past: "the attempt is unscored, the program ended",
            raise: "`environment.line_bytes_max`, up to 268,435,456",
            test: "env/tests/maxima.rs: lines_of_a_program",
        },
        Limit {
            name: "external_observation_bytes",
            value: program.observation_bytes_max as u64,
            unit: "bytes of an observation",
            past: "it is cut, with a mark",
            raise: "`environment.observation_bytes_max`, up to 10,000,000",
            test: "env/tests/external.rs: prints_on_stderr_cost_nothing_and_a_long_observation_is_cut",
        },
        Limit {
            name: "external_names",
            value: env::NAMES_MAX as u64,
            unit: "offers, stop strings or parts of a program",
            past: "the program is refused",
            raise: "it cannot be raised: reports show a line of parts",
            test: "env/tests/maxima.rs: names_of_a_program",
        },
        Limit {
            name: "external_name_bytes",
            value: env::NAME_BYTES_MAX as u64,
            unit: "bytes of one of them",
            past: "the program is refused",
            raise: "it cannot be raised",
            test: "env/tests/maxima.rs: names_of_a_program",
        },
        Limit {
            name: "external_restarts",
            value: u64::from(program.restarts_max),
            unit: "restarts of a program",
            past: "the program is given up; attempts are unscored",
            raise: "`environment.restarts_max`, up to 1,000,000",
            test: "env/tests/external.rs: a_program_that_always_fails_is_given_up",
        },
        Limit {
            name: "external_lines_waiting",
            value: env::LINES_WAITING as u64,
            unit: "lines of a program that wait to be read",
            past: "the program waits",
            raise: "it cannot be raised: one request has one reply",
            test: "env/tests/external.rs: what_a_program_does_wrong_is_never_a_reward_and_never_a_hang",
        },
        Limit {
            name: "external_stderr_bytes",
            value: env::STDERR_BYTES as u64,
            unit: "bytes kept of what a program prints on stderr",
            past: "the beginning is dropped",
            raise: "it cannot be raised: write a log of your own",
            test: "env/tests/external.rs: prints_on_stderr_cost_nothing_and_a_long_observation_is_cut",
        },
        Limit {
            name: "model_text_bytes",
            value: model::TEXT_BYTES,
            unit: "bytes of each file of a model but its weights",
            past: "the model is refused",
            raise: "it cannot be raised: the largest known tokenizer is a third of it",
            test: "model/tests/limits.rs: text_files_of_a_model",
        },
        Limit {
            name: "tensor_header_bytes",
            value: model::HEADER_BYTES,
            unit: "bytes of a safetensors header",
            past: "the model is refused",
            raise: "it cannot be raised: it is the format's own",
            test: "model/tests/limits.rs: headers_and_names_of_tensors",
        },
        Limit {
            name: "tensor_name_bytes",
            value: model::TENSOR_NAME_BYTES as u64,
            unit: "bytes of a tensor's name",
            past: "the model is refused",
            raise: "it cannot be raised",
            test: "model/tests/limits.rs: headers_and_names_of_tensors",
        },
        Limit {
            name: "model_shards",
            value: model::SHARDS as u64,
            unit: "files that an index may name",
            past: "the model is refused",
            raise: "merge shards",
            test: "model/tests/limits.rs: shards_of_an_index",
        },
        Limit {
            name: "gguf_key_bytes",
            value: model::GGUF_KEY_BYTES,
            unit: "bytes of a GGUF key",
            past: "the model is refused",
            raise: "it cannot be raised: it is the format's own",
            test: "model/tests/limits.rs: lengths_in_gguf_files",
        },
        Limit {
            name: "gguf_text_bytes",
            value: model::GGUF_TEXT_BYTES,
            unit: "bytes of a GGUF text",
            past: "the model is refused",
            raise: "it cannot be raised",
            test: "model/tests/limits.rs: lengths_in_gguf_files",
        },
        Limit {
            name: "gguf_name_bytes",
            value: model::GGUF_NAME_BYTES,
            unit: "bytes of a GGUF tensor's name",
            past: "the model is refused",
            raise: "it cannot be raised",
            test: "model/tests/limits.rs: lengths_in_gguf_files",
        },
        Limit {
            name: "gguf_sides",
            value: u64::from(model::GGUF_SIDES),
            unit: "dimensions of a GGUF tensor",
            past: "the model is refused",
            raise: "it cannot be raised: it is the format's own",
            test: "model/tests/gguf.rs: tensors_lie_in_the_file_in_order",
        },
        Limit {
            name: "token_ids",
            value: model::TOKEN_IDS,
            unit: "ids of a tokenizer",
            past: "the tokenizer is refused",
            raise: "it cannot be raised: no model has as many rows",
            test: "model/tests/limits.rs: ids_and_added_tokens",
        },
        Limit {
            name: "added_tokens",
            value: model::ADDED_TOKENS as u64,
            unit: "added tokens of a tokenizer",
            past: "the tokenizer is refused",
            raise: "it cannot be raised",
            test: "model/tests/limits.rs: ids_and_added_tokens",
        },
        Limit {
            name: "vocabulary_words",
            value: model::WORDS as u64,
            unit: "words of a vocabulary made from tasks",
            past: "the run is refused",
            raise: "`model.scratch.tokenizer = \"bytes\"`",
            test: "model/tests/limits.rs: words_of_a_vocabulary",
        },
        Limit {
            name: "template_bytes",
            value: model::TEMPLATE_BYTES as u64,
            unit: "bytes of a chat template",
            past: "the template is refused",
            raise: "it cannot be raised",
            test: "model/tests/limits.rs: templates",
        },
        Limit {
            name: "template_steps",
            value: model::TEMPLATE_STEPS,
            unit: "steps of one rendering, and at 64 bytes each its memory",
            past: "the rendering fails, with its place",
            raise: "it cannot be raised: a conversation takes hundreds",
            test: "model/src/template/tests.rs: hungry_templates_run_out_of_budget",
        },
        Limit {
            name: "template_output_bytes",
            value: model::TEMPLATE_OUTPUT_BYTES as u64,
            unit: "bytes that a template may write itself",
            past: "the rendering fails",
            raise: "it cannot be raised",
            test: "model/tests/limits.rs: templates",
        },
        Limit {
            name: "template_recursion",
            value: model::TEMPLATE_RECURSION as u64,
            unit: "macros inside each other",
            past: "the rendering fails",
            raise: "it cannot be raised",
            test: "model/src/template/tests.rs: hungry_templates_run_out_of_budget",
        },
        Limit {
            name: "manifest_bytes",
            value: stepwell_store::MANIFEST_BYTES_MAX,
            unit: "bytes of a checkpoint's manifest",
            past: "the checkpoint is skipped, with the reason",
            raise: "it cannot be raised: it lists a dozen files",
            test: "engine/tests/limits.rs: manifests",
        },
    ]
}

/// `docs/LIMITS.md`.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for Limit { name, value, unit, past, raise, test } in all() {
        let value = grouped(value);
        out.push_str(&format!("| `{name}` | {value} | {unit} | {past} | {raise} | `{test}` |\n"));
    }
    out
}

const HEAD: &str = "\
# Limits

Everything that grows has a named maximum. Made by `cargo xtask docs` from
`crates/engine/src/limits.rs`; change it there. Where a key of the recipe sets one, its default is
shown. Ranges of all keys stand beside them in what `stepwell recipe show` prints. Each is tried at
its value and one past it by the test that is named, where the value is within reach of a test.

| name | most | of what | past it | to raise it | test |
|---|---|---|---|---|---|
";

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
