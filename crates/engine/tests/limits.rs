//! The table of limits, its page, and those of recipes, trees and run folders at their value and
//! one past it (P20).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use stepwell_engine::limits::{self, Limit};
use stepwell_engine::problem::Problem;
use stepwell_engine::recipe::Recipe;
use stepwell_store::{Checkpoint, Content, RunFolder, newest_valid};

fn of(name: &str) -> u64 {
    let found = limits::all().into_iter().find(|limit| limit.name == name);
    found.unwrap_or_else(|| panic!("no limit `{name}`")).value
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_page_is_the_table_and_every_limit_names_its_test() {
    let path = root().join("docs/LIMITS.md");
    if std::env::var_os("STEPWELL_SNAPSHOTS").is_some_and(|what| what == "write") {
        fs::write(&path, limits::page()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap();
    assert!(page == limits::page(), "docs/LIMITS.md is stale: run `cargo xtask docs`");
    let mut names = BTreeSet::new();
    for Limit { name, unit, past, raise, test, .. } in limits::all() {
        assert!(names.insert(name), "`{name}` is there twice");
        assert!([unit, past, raise].iter().all(|text| !text.is_empty()), "{name}");
        let (file, test) = test.split_once(": ").unwrap();
        let source = fs::read_to_string(root().join("crates").join(file)).unwrap();
        let at = source.find(&format!("fn {test}(")).unwrap_or_else(|| panic!("{name}: {test}"));
        let attributed = source[..at].trim_end().ends_with("#[test]");
        assert!(attributed || is_listed(file, test), "{name}: `{test}` is no test");
    }
    assert!(names.len() > 35, "only {} limits", names.len());
}

/// True where a program with a `main` of its own lists the function: beside it, or in `main.rs`.
fn is_listed(file: &str, test: &str) -> bool {
    let own = root().join("crates").join(file);
    let main = own.with_file_name("main.rs");
    // In its own file it stands twice: where it is listed, and where it is written.
    [(own, 2), (main, 1)].iter().any(|(path, least)| {
        let source = fs::read_to_string(path).unwrap_or_default();
        source.contains("fn main()") && source.matches(test).count() >= *least
    })
}

const HEAD: &str =
    "seed = 7\n[model.scratch]\n[environment]\ntype = \"sql\"\n[environment.world]\n";

fn errors(text: &str) -> Vec<String> {
    match Recipe::parse(text, "recipe.toml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn stages_and_attempts() {
    let stages = |count: u64| {
        let one = "[[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\nsteps = 1\n";
        errors(&(HEAD.to_owned() + &one.repeat(count as usize)))
    };
    let most = of("recipe_stages");
    assert_eq!(stages(most), Vec::<String>::new());
    assert_eq!(stages(most + 1), ["recipe.toml:6: a recipe must have 1..=256 stages, got: 257"]);
    let update = |tasks: u64| {
        let stage = format!(
            "[[stage]]\n[stage.rl]\ntasks = {tasks}\n\
             grow = {{ type = \"independent\", attempts = 4096 }}\n\
             credit = {{ type = \"group_mean\" }}\n"
        );
        errors(&(HEAD.to_owned() + &stage))
    };
    let most = of("update_attempts");
    assert_eq!(update(most / 4096), Vec::<String>::new());
    let expected = format!(
        "recipe.toml:8: `stage[0].rl.tasks` makes {} attempts per update, expected at most {most}; \
         lower it or the leaves of `grow`",
        most + 4096
    );
    assert_eq!(update(most / 4096 + 1), [expected]);
}

#[test]
fn problems_are_listed_up_to_their_most() {
    let many = |count: u64| {
        let keys: String = (0..count).map(|i| format!("key{i} = 1\n")).collect();
        let stage = "[[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\n";
        errors(&(keys + HEAD + stage))
    };
    let most = of("recipe_problems");
    assert_eq!(many(most).len() as u64, most);
    let more = many(most + 1);
    assert_eq!(more.len() as u64, most + 1);
    assert_eq!(more.last().unwrap(), "recipe.toml: and more; the first 100 are shown");
}

#[test]
fn a_tree_that_could_hold_too_much_is_refused() {
    let fits = |leaves: u64, path: u64| {
        let text = format!(
            "seed = 7\n[model.scratch]\nhidden = 8\nlayers = 1\nheads = 1\ncontext = {path}\n\
             [environment]\ntype = \"sql\"\n[environment.world]\ntrain_databases = 1\n\
             development_databases = 0\nheld_out_databases = 0\nquestions = 1\n\
             [[stage]]\n[stage.rl]\ntasks = 1\nmax_tokens = 8\n\
             grow = {{ type = \"independent\", attempts = {leaves} }}\n\
             credit = {{ type = \"group_mean\" }}\n"
        );
        let recipe = Recipe::parse(&text, "recipe.toml").unwrap().recipe;
        let problem = Problem::build(&recipe).unwrap();
        let learner = problem.learner(&recipe, 1).unwrap();
        problem.require_fit(&recipe, &learner).map_err(|error| error.to_string())
    };
    let most = of("tree_tokens");
    assert_eq!(fits(4096, most / 4096), Ok(()));
    let expected = format!(
        "stage[0].rl: a tree may hold 4096 leaves x 65537 tokens = {}, expected at most {most} \
         (`tree_tokens`); lower `path_tokens` or the leaves of `grow`",
        most + 4096
    );
    assert_eq!(fits(4096, most / 4096 + 1), Err(expected));
}

const PROGRAM: &str = r#"
while read -r line; do
  id=${line#*'"id":'}; id=${id%%[!0-9]*}
  case $line in
  *'"hello"'*) echo "{\"id\":$id,\"protocol\":1,\"name\":\"t\",\"offers\":[\"episodes\",\"tasks\"]}" ;;
  *) echo "{\"id\":$id,\"tasks\":[{\"id\":\"a\",\"question\":\"q\"}]}" ;;
  esac
done
exit 0
"#;

#[test]
fn a_larger_program_is_not_watched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program.sh");
    let text = format!(
        "[model.scratch]\ntokenizer = \"bytes\"\n[environment]\ntype = \"external\"\n\
         command = [\"sh\", \"{}\"]\ntasks = {{ train = 1 }}\n[[stage]]\n[stage.rl]\n\
         grow = {{ type = \"independent\", attempts = 2 }}\ncredit = {{ type = \"group_mean\" }}\n",
        path.display()
    );
    let recipe = Recipe::parse(&text, "recipe.toml").unwrap().recipe;
    let watched = |bytes: u64| {
        // What follows `exit` is never read.
        fs::write(&path, PROGRAM).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        let problem = Problem::build(&recipe).unwrap();
        problem.require_unchanged().unwrap();
        let mut file = fs::File::options().append(true).open(&path).unwrap();
        file.write_all(b"#").unwrap();
        problem.require_unchanged().map_err(|error| error.to_string())
    };
    let most = of("watched_program_bytes");
    let error = watched(most).unwrap_err();
    assert!(error.contains("program.sh: changed since the run began"), "{error}");
    assert_eq!(watched(most + 1), Ok(()));
}

#[test]
fn manifests() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(&place.path().join("run"), "seed = 1\n").unwrap();
    let head = folder.record().unwrap().head();
    let files = &mut [("weights.bin", Content::Bytes(b"w"))];
    Checkpoint::write(&folder, 1, files, &serde_json::json!({}), head).unwrap();
    let path = folder.checkpoints().join("000001/manifest.json");
    let good = fs::read(&path).unwrap();
    let padded = |bytes: u64| {
        let mut text = good.clone();
        text.resize(bytes as usize, b' ');
        fs::write(&path, text).unwrap();
        newest_valid(&folder).unwrap()
    };
    let most = of("manifest_bytes");
    let (found, skipped) = padded(most);
    assert!(found.is_some() && skipped.is_empty(), "{skipped:?}");
    let (found, skipped) = padded(most + 1);
    let expected = "`manifest.json`: 1048577 bytes, expected at most 1048576";
    assert!(found.is_none() && skipped[0].reason == expected, "{skipped:?}");
}
