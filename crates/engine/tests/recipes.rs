//! Recipes that are fine: what they mean, how they are written back, what differs between two.

use proptest::prelude::*;
use stepwell_engine::recipe::{
    Checked, Decoding, Environment, Model, Recipe, Schedule, Source, Stage, diff,
};

const GOOD: &str = include_str!("bad_inputs/good.toml");

fn parse(text: &str, set: &[&str]) -> Recipe {
    let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
    match Recipe::parse_with(text, "recipe.toml", &set) {
        Ok(Checked { recipe, .. }) => recipe,
        Err(errors) => panic!("{errors:#?}"),
    }
}

#[test]
fn reads_values_and_fills_defaults() {
    let recipe = parse(GOOD, &[]);
    assert_eq!(recipe.seed, 7);
    let Model::Scratch(model) = &recipe.model else { panic!("not from scratch") };
    assert_eq!((model.head_dim, model.kv_heads, model.ffn), (Some(24), Some(4), Some(256)));
    let [Stage::Sft(sft), Stage::Rl(rl), Stage::Evaluate(evaluate)] = &recipe.stage[..] else {
        panic!("other stages")
    };
    assert_eq!((sft.steps, sft.optimizer.schedule), (300, Schedule::Cosine));
    assert_eq!((rl.tasks, rl.optimizer.learning_rate), (16, 1e-4));
    assert_eq!((rl.grow.name(), rl.grow.leaves_max(), rl.credit.name()), ("branch", 8, "sibling"));
    assert_eq!(evaluate.decoding, Decoding::Greedy);
}

#[test]
fn overrides_win_and_bare_words_are_text() {
    let set = [
        "seed=18446744073709551615",
        "stage[1].rl.learning_rate = 2e-5",
        "stage[1].rl.grow.attempts=4",
        "stage[1].rl.credit={ type = \"group_mean\", epsilon = 1e-4 }",
        "stage[2].evaluate.decoding=tree_vote",
        "stage[0].sft={ data = \"talks/a.jsonl\" }",
        "environment.limits.rows_max=5",
        "stage[1].rl.schedule=cosine",
        "stage[1].rl.schedule=linear",
    ];
    let recipe = parse(GOOD, &set);
    let [Stage::Sft(sft), Stage::Rl(rl), Stage::Evaluate(evaluate)] = &recipe.stage[..] else {
        panic!("other stages")
    };
    assert_eq!(recipe.seed, u64::MAX);
    assert_eq!(rl.optimizer.learning_rate, 2e-5);
    assert_eq!(rl.optimizer.schedule, Schedule::Linear);
    assert_eq!(rl.credit.name(), "group_mean");
    assert_eq!(evaluate.decoding, Decoding::TreeVote);
    assert_eq!(sft.data.as_deref(), Some("talks/a.jsonl"));
    assert_eq!(parse(&recipe.to_toml(), &[]), recipe);
    let path = parse(GOOD, &["model={ path = \"models/a b\" }"]);
    assert_eq!(path.model, Model::Path("models/a b".to_owned()));
    assert_eq!(parse(&path.to_toml(), &[]), path);
}

#[test]
fn what_is_written_reads_back_equal_with_and_without_comments() {
    let credits = [
        "{ type = \"permuted\", of = { type = \"reinforce\", baseline = { constant = 0.5 } } }",
        "{ type = \"reinforce\", baseline = \"mean\" }",
        "{ type = \"leave_one_out\" }",
        "{ type = \"uniform\", value = 1e-300 }",
        "{ type = \"backup\", value = \"max\", only_child = \"zero\" }",
        "{ type = \"anchor_group\", omega = 0.5, std = \"population\" }",
    ];
    for credit in credits {
        let set = [
            format!("stage[1].rl.credit={credit}"),
            "stage[1].rl.objective={ type = \"clipped\", dual_clip = 3, aggregation = \
             { sequence_mean_token_sum_norm = {} } }"
                .to_owned(),
            "stage[1].rl.reward.weights={}".to_owned(),
            "stage[1].rl.token_budget=1000".to_owned(),
        ];
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        let recipe = parse(GOOD, &set);
        assert_eq!(parse(&recipe.to_toml(), &[]), recipe, "{}", recipe.to_toml());
        assert_eq!(parse(&recipe.to_commented_toml(), &[]), recipe);
    }
}

#[test]
fn stages_that_run_several_times_are_those_stages_written_out() {
    let stages = |table: &str, shift: usize, rate: &str| {
        let (index, log) = (1 + shift, 2 + shift);
        format!(
            "[[{table}]]\n[{table}.estimator]\nsteps = 2\n\
             [[{table}]]\n[{table}.rl]\nsteps = 3\nlearning_rate = {rate}\nestimator = {index}\n\
             credit = {{ type = \"effective_reward\" }}\n\
             objective = {{ type = \"policy_gradient\" }}\n\
             [[{table}]]\n[{table}.offline]\nlog = {log}\n\
             [[{table}]]\n[{table}.evaluate]\ndecoding = \"best_of_n\"\n\
             scorer = {{ type = \"estimator\", stage = {index} }}\n"
        )
    };
    let head = "seed = 7\n[model.scratch]\n[environment]\ntype = \"sql\"\n[environment.world]\n\
                [[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\n";
    let last = "[[stage]]\n[stage.evaluate]\n";
    let repeat = "[[stage]]\n[stage.repeat]\ntimes = 3\n".to_owned();
    let inner = stages("stage.repeat.stage", 0, "1e-3");
    let short = [head, &repeat, &inner, last].concat();
    // An override reaches every round, also one of how many there are.
    let set = ["stage[1].repeat.stage[1].rl.learning_rate=1e-4"];
    let rounds = |times: usize| {
        let round = |k: usize| stages("stage", 4 * k, "1e-4");
        [head, &(0..times).map(round).collect::<String>(), last].concat()
    };
    assert_eq!(parse(&short, &set), parse(&rounds(3), &[]));
    let fewer = [set[0], "stage[1].repeat.times=1"];
    assert_eq!(parse(&short, &fewer), parse(&rounds(1), &[]));
    assert_eq!(parse(&short, &set).stage.len(), 1 + 12 + 1);
}

#[test]
fn a_recipe_of_questions_in_free_text_reads_and_writes_back() {
    let settings = "type = \"math_answer\"\nform = \"hashes\"\nstep = \"line\"\nmax_steps = 9\n";
    let sql = "type = \"sql\"\n\n[environment.world]\ntrain_databases = 40\n";
    let files = "[environment.files]\ntrain = \"a.jsonl\"\nheld_out = \"b.jsonl\"\n";
    let text = GOOD.replace(sql, &format!("{settings}\n{files}"));
    let text = text.replace("{ type = \"composite\" }", "{ type = \"outcome\" }");
    let read = parse(&text, &["stage[0].sft={ data = \"talks.jsonl\" }"]);
    assert_eq!((read.environment.name(), read.environment.max_interactions()), ("math_answer", 8));
    assert_eq!(read.environment.parts(), ["format"]);
    let Environment::MathAnswer(math) = &read.environment else { panic!("not math_answer") };
    assert_eq!((math.form.name(), math.step.name(), math.instructions), ("hashes", "line", true));
    assert_eq!(math.files.held_out.as_deref(), Some("b.jsonl"));
    assert_eq!(parse(&read.to_toml(), &[]), read);
    assert_eq!(parse(&read.to_commented_toml(), &[]), read);
}

#[test]
fn rewards_of_every_kind_read_back_equal() {
    let rewards = [
        "{ type = \"gated\" }",
        "{ type = \"gated\", floor_at_zero = true, terms = [{ part = \"outcome\", priority = 2, \
         threshold = 0.5 }, { part = \"exec\", priority = 1, weight = 0.0, threshold = 1 }, \
         { part = \"explore\" }] }",
        "{ type = \"hierarchical\", tools = [\"explore\"] }",
        "{ type = \"expert_mix\", score = \"brier\" }",
        "{ type = \"overlong\", tokens_max = 64, tokens_soft = 16, of = { type = \"composite\", \
         gate_on = \"outcome\" } }",
    ];
    for reward in rewards {
        let recipe = parse(GOOD, &[&format!("stage[1].rl.reward={reward}")]);
        assert_eq!(parse(&recipe.to_toml(), &[]), recipe, "{}", recipe.to_toml());
        assert_eq!(parse(&recipe.to_commented_toml(), &[]), recipe);
    }
}

/// What `recipes/sql_methods.toml` offers in place of its own credit and reward, and the controls.
#[test]
fn every_method_that_the_recipe_of_methods_offers_can_be_put_in() {
    let text = include_str!("../../../recipes/sql_methods.toml");
    let mut offered = std::collections::BTreeSet::new();
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    for line in lines.filter(|line| !line.starts_with(' ')) {
        let (method, control) = line.split_once("control:").expect("a method names its control");
        let (kind, method) = method.trim().split_once(" = ").expect("`credit = {...}`");
        for table in [method, control.trim()] {
            let recipe = parse(text, &[&format!("stage[1].rl.{kind}={table}")]);
            let Stage::Rl(rl) = &recipe.stage[1] else { panic!("stage 1 is reinforcement") };
            offered.extend([rl.credit.name(), rl.reward.name()]);
        }
    }
    // What reads a column that no stage of that recipe fills is refused, and says so.
    for (kind, names) in [
        ("credit", stepwell_methods::CreditConfig::NAMES),
        ("reward", stepwell_methods::RewardConfig::NAMES),
    ] {
        let refused = |name: &&&str| {
            let set = [format!("stage[1].rl.{kind}={{ type = \"{name}\" }}")];
            let errors = Recipe::parse_with(text, "recipe.toml", &set).err().unwrap_or_default();
            let says = ["reads the column", "of a teacher"];
            errors.iter().any(|e| says.iter().any(|text| e.to_string().contains(text)))
        };
        offered.extend(names.iter().filter(refused).copied());
    }
    let all = stepwell_methods::CreditConfig::NAMES;
    // These come with a way of growing: tests/growing_recipes.rs.
    let alone = |name: &&&str| !["remax", "monte_carlo"].contains(*name);
    let missing: Vec<_> =
        all.iter().filter(alone).filter(|name| !offered.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not offered");
    let all = stepwell_methods::RewardConfig::NAMES;
    let missing: Vec<_> = all.iter().filter(|name| !offered.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not offered");
}

/// The good recipe over word problems.
fn calculator(source: &str) -> String {
    let sql = "type = \"sql\"\n\n[environment.world]\ntrain_databases = 40\n";
    assert!(GOOD.contains(sql));
    let text = GOOD.replace(sql, &format!("type = \"calculator\"\nexamples = 1\n\n{source}\n"));
    text.replace("{ type = \"composite\" }", "{ type = \"composite\", weights = { steps = 1 } }")
}

#[test]
fn a_recipe_of_word_problems_reads_and_writes_back() {
    let world = parse(&calculator("[environment.world]\ndifficulty = 2"), &[]);
    assert_eq!((world.environment.name(), world.environment.max_interactions()), ("calculator", 3));
    assert_eq!(world.environment.parts(), ["format", "called", "steps", "grounded"]);
    let Environment::Calculator(settings) = &world.environment else { panic!("not a calculator") };
    assert_eq!((settings.examples, settings.instructions), (1, true));
    let Source::World(problems) = &settings.source else { panic!("not generated") };
    assert_eq!((problems.difficulty, problems.train_problems), (2, 2000));
    assert_eq!(parse(&world.to_toml(), &[]), world);
    assert_eq!(parse(&world.to_commented_toml(), &[]), world);
    let files = "[environment.files]\ntrain = \"a.jsonl\"\nheld_out = \"b.jsonl\"";
    let files = parse(&calculator(files), &["stage[0].sft={ data = \"talks.jsonl\" }"]);
    assert_eq!(files.environment.files().unwrap().held_out.as_deref(), Some("b.jsonl"));
    assert_eq!(parse(&files.to_toml(), &[]), files);
    let shown: Vec<String> = diff(&world, &files).iter().map(ToString::to_string).collect();
    assert!(shown.contains(&"`environment.files.train` not set, now \"a.jsonl\"".to_owned()));
}

#[test]
fn every_key_says_what_it_means() {
    let recipe = parse(GOOD, &["stage[2].evaluate.decoding=linear_vote"]);
    let part = [
        "grow.",
        "reward.",
        "credit.",
        "objective.",
        "scorer.",
        "plan.",
        "curriculum.",
        "estimator.",
    ];
    for entry in recipe.entries() {
        let own = !part.iter().any(|p| entry.name.starts_with(p)) || entry.name.ends_with(".type");
        assert!(!own || entry.about.len() > 8, "{} has no meaning", entry.key());
    }
    let shown = recipe.to_commented_toml();
    assert!(shown.contains("\n# Highest learning rate, reached after the warm-up. In [0, 1].\n"));
    let words = shown.replace("\n# ", " ");
    assert!(words.contains("One of `greedy`, `sample`, `linear_vote`, `tree_vote`, `best_of_n`"));
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
}

// Row 15.
#[test]
fn differences_are_named_by_key() {
    let was = parse(GOOD, &[]);
    assert!(diff(&was, &was).is_empty());
    let now = parse(GOOD, &["stage[1].rl.grow.leaves=16", "stage[2].evaluate.path_tokens=99"]);
    let shown: Vec<String> = diff(&was, &now).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "`stage[1].rl.grow.leaves = 8`, now 16",
            "`stage[2].evaluate.path_tokens` not set, now 99",
        ]
    );
    let back = diff(&now, &was);
    assert_eq!(back[1].to_string(), "`stage[2].evaluate.path_tokens = 99`, now not set");
    assert_eq!(back[1].key, "stage[2].evaluate.path_tokens");
}

proptest! {
    /// Cut, doubled, moved and overwritten pieces of a good recipe never panic, and what passes
    /// writes back to itself.
    #[test]
    fn no_damage_panics(
        edits in prop::collection::vec((0usize..900, 0usize..40, 0usize..900), 1..4),
        piece in prop::sample::select(vec![
            "", "nan", "-1", "\"", "'''", "[", "]", "{", "}", "=", ".", "\n", "[[stage]]\n", "#",
            "9999999999999999999999", "1e400", "\u{0}", "\u{feff}", "\u{1f600}", "type = \"x\"",
        ]),
    ) {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (from, length, to) in edits {
            let from = from.min(text.len());
            let cut: Vec<char> = text.drain(from..(from + length).min(text.len())).collect();
            let to = to.min(text.len());
            let moved = cut.into_iter().chain(piece.chars());
            text.splice(to..to, moved);
        }
        let text: String = text.into_iter().collect();
        match Recipe::parse(&text, "recipe.toml") {
            Ok(checked) => {
                let again = Recipe::parse(&checked.recipe.to_toml(), "again.toml");
                prop_assert_eq!(again.map(|c| c.recipe), Ok(checked.recipe));
            }
            Err(errors) => prop_assert!(!errors.is_empty()),
        }
    }

    /// Nor does any override.
    #[test]
    fn no_override_panics(key in "[a-z_.\\[\\]0-9=]{0,30}", value in "\\PC{0,20}") {
        let set = [format!("{key}={value}")];
        let _ = Recipe::parse_with(GOOD, "recipe.toml", &set);
        let stage = [format!("stage[1].rl.{key}={value}")];
        let _ = Recipe::parse_with(GOOD, "recipe.toml", &stage);
    }
}
