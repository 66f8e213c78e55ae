//! Every bad recipe of RELIABILITY 5.1, and the sentences its author is owed: word for word, in
//! well under a second, without a panic.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Deserialize;
use stepwell_engine::recipe::Recipe;

const GOOD: &str = include_str!("bad_inputs/good.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Text of the good recipe, or `ALL` of it.
    #[serde(default)]
    replace: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    set: Vec<String>,
    errors: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// What is reported of a text, and that it is reported in time.
fn errors(text: &str, set: &[String]) -> Vec<String> {
    let start = Instant::now();
    let read = Recipe::parse_with(text, "recipe.toml", set);
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    match read {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn check(cases: &str) {
    let cases: Cases = toml::from_str(cases).expect("a table of cases");
    assert!(cases.case.len() > 5, "the table is cut short");
    let mut wrong = Vec::new();
    for case in cases.case {
        let text = match case.replace.as_str() {
            "ALL" => case.by.clone(),
            part => {
                assert!(GOOD.contains(part), "{}: the good recipe has no such text", case.name);
                GOOD.replacen(part, &case.by, 1)
            }
        };
        assert!(!case.errors.is_empty(), "{}: a bad recipe has errors", case.name);
        let got = errors(&text, &case.set);
        if got != case.errors {
            wrong.push(format!("{}\n  got: {got:#?}\n  expected: {:#?}", case.name, case.errors));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_good_recipe_is_good() {
    assert_eq!(errors(GOOD, &[]), Vec::<String>::new());
}

#[test]
fn keys() {
    check(include_str!("bad_inputs/keys.toml"));
}

#[test]
fn numbers() {
    check(include_str!("bad_inputs/numbers.toml"));
}

#[test]
fn preferences() {
    check(include_str!("bad_inputs/preferences.toml"));
}

#[test]
fn updates() {
    check(include_str!("bad_inputs/updates.toml"));
}

#[test]
fn methods() {
    check(include_str!("bad_inputs/methods.toml"));
}

#[test]
fn worlds() {
    check(include_str!("bad_inputs/worlds.toml"));
}

#[test]
fn external() {
    check(include_str!("bad_inputs/external.toml"));
}

#[test]
fn calculator() {
    check(include_str!("bad_inputs/calculator.toml"));
}

#[test]
fn stages() {
    check(include_str!("bad_inputs/stages.toml"));
}

#[test]
fn stages_that_run_several_times() {
    check(include_str!("bad_inputs/repeat.toml"));
}

#[test]
fn critics_estimators_teachers_and_trust_regions() {
    check(include_str!("bad_inputs/heads.toml"));
}

#[test]
fn checkpoints() {
    check(include_str!("bad_inputs/checkpoints.toml"));
}

#[test]
fn overrides() {
    check(include_str!("bad_inputs/overrides.toml"));
}

#[test]
fn an_error_has_a_line_a_column_and_a_key() {
    let text = GOOD.replace("learning_rate = 1e-4", "  learning_rte = 1e-4");
    let error = Recipe::parse(&text, "a/b.toml").unwrap_err().remove(0);
    assert_eq!((error.file.as_str(), error.line, error.column), ("a/b.toml", 22, 3));
    assert_eq!(error.key, "stage[1].rl.learning_rte");
}

#[test]
fn warnings_stand_beside_the_recipe() {
    let text = GOOD.replace("learning_rate = 1e-4", "learning_rate = 0\nwarmup_steps = 120");
    let text = text.replace("demonstrations = \"scripted\"", "data = \"talks.jsonl\"");
    let shown = |text: &str| -> Vec<String> {
        let checked = Recipe::parse(text, "recipe.toml").unwrap();
        checked.warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        shown(&text),
        [
            "recipe.toml:22: `stage[1].rl.learning_rate` is 0: the weights will not move",
            "recipe.toml:23: `stage[1].rl.warmup_steps` is 120 and the stage takes 120 optimizer \
             steps: the learning rate never reaches its highest value before the last",
        ]
    );
    let files = GOOD.replace("[environment.world]", "[environment.files]").replace(
        "train_databases = 40",
        "train = \"a.jsonl\"\nheld_out = \"b.jsonl\"\ndatabases = \"folder\"",
    );
    let files = files.replace("demonstrations = \"scripted\"", "data = \"talks.jsonl\"");
    assert!(shown(&files)[0].contains("knows the words of your prompts"), "{:?}", shown(&files));
    let start = text.find("[[stage]]").unwrap();
    let second = start + 1 + text[start + 1..].find("[[stage]]").unwrap();
    let untaught = format!("{}{}", &text[..start], &text[second..]);
    assert!(shown(&untaught)[0].contains("starts from random weights"), "{:?}", shown(&untaught));
    let overlong = GOOD.replace("type = \"composite\"", "type = \"overlong\"");
    let [warning] = &shown(&overlong)[..] else { panic!("{:?}", shown(&overlong)) };
    let begins = "recipe.toml:26: `stage[1].rl.reward` subtracts nothing: its penalty begins beyond \
                  16384 sampled tokens, and a path has room for ";
    assert!(warning.starts_with(begins), "{warning}");
    let bites = overlong.replace("\"overlong\"", "\"overlong\", tokens_max = 64, tokens_soft = 9");
    assert_eq!(shown(&bites), Vec::<String>::new());
}

// Row 10, and every other shape that grows without end.
#[test]
fn what_is_deep_long_or_many_is_refused_in_time() {
    let deep = "recipe.toml:1: nested deeper than 64 levels";
    let open = "[".repeat(20_000);
    for text in [
        format!("seed = {open}{}", "]".repeat(20_000)),
        format!("seed = {open}"),
        format!("seed = {}1{}", "{a = ".repeat(20_000), "}".repeat(20_000)),
        format!("{}a = 1", "a.".repeat(20_000)),
        format!("[{}a]", "a.".repeat(20_000)),
    ] {
        assert_eq!(errors(&text, &[]), [deep]);
    }
    let nested = format!("seed={open}");
    assert!(errors(GOOD, &[nested])[0].starts_with("--set: `seed` is nested deeper"));
    let many = |line: fn(usize) -> String| (0..50_000).map(line).collect::<String>();
    for text in [
        many(|i| format!("key{i} = {i}\n")),
        many(|_| "same = 1\n".to_owned()),
        many(|_| "= =\n".to_owned()),
        many(|_| "[[stage]]\n[stage.rl]\nx = 1\n".to_owned()),
        format!("{GOOD}\n[[stage]]\n[stage.rl.reward]\n{}", many(|i| format!("k{i} = 1\n"))),
        format!(
            "{GOOD}\n[[stage]]\n[stage.rl]\nreward = {{ {} }}",
            "'\u{1f600}\u{301}' = 1, ".repeat(9_000)
        ),
    ] {
        let found = errors(&text, &[]);
        assert!((1..=101).contains(&found.len()), "{} errors", found.len());
    }
}

fn load(path: &Path) -> String {
    let start = Instant::now();
    let errors = Recipe::load(path, &[]).expect_err("no recipe");
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    assert_eq!(errors.len(), 1, "{errors:?}");
    let place = format!("{}: cannot read recipe: ", path.display());
    errors[0].to_string().strip_prefix(&place).expect("the file is named first").to_owned()
}

// Row 9.
#[test]
fn files_that_are_no_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let sixteen =
        |order: fn(u16) -> [u8; 2]| -> Vec<u8> { GOOD.encode_utf16().flat_map(order).collect() };
    assert_eq!(load(folder.path()), "it is a folder; name a file in it");
    assert_eq!(load(&folder.path().join("none.toml")), "no such file");
    assert_eq!(load(Path::new("/dev/zero")), "it is not a regular file");
    let utf16 = "found UTF-16; save as UTF-8";
    assert_eq!(load(&file("little", &sixteen(u16::to_le_bytes))), utf16);
    assert_eq!(load(&file("big", &sixteen(u16::to_be_bytes))), utf16);
    let marked: Vec<u8> = [vec![0xff, 0xfe], sixteen(u16::to_le_bytes)].concat();
    assert_eq!(load(&file("marked", &marked)), utf16);
    assert_eq!(
        load(&file("bom", format!("\u{feff}{GOOD}").as_bytes())),
        "found a byte order mark; save as UTF-8 without one"
    );
    assert_eq!(load(&file("latin1", b"seed = 7 # \xe9")), "byte 11 is not UTF-8; save as UTF-8");
    let binary = [b"seed = 7 # a long line of text, then ".as_slice(), &[0; 3]].concat();
    assert_eq!(load(&file("binary", &binary)), "it is a binary file (it holds a zero byte)");
    // Sparse: two gigabytes that take no room.
    let large = folder.path().join("large");
    File::create(&large).unwrap().set_len(2 << 30).unwrap();
    assert_eq!(load(&large), "2147483648 bytes, expected at most 1048576");
    let locked = file("locked", GOOD.as_bytes());
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads whatever it likes.
    if File::open(&locked).is_err() {
        assert_eq!(load(&locked), "permission denied");
    }
}

#[test]
fn the_largest_file_is_read_and_one_byte_more_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    let room = (1 << 20) - GOOD.len() - 1;
    fs::write(&path, format!("{GOOD}#{}", "x".repeat(room))).unwrap();
    assert!(Recipe::load(&path, &[]).is_ok());
    fs::write(&path, format!("{GOOD}#{}", "x".repeat(room + 1))).unwrap();
    assert_eq!(load(&path), "1048577 bytes, expected at most 1048576");
}
