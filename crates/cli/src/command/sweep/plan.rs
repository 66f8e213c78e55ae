//! The runs of a sweep: every combination of the values of its keys, under every seed.

use stepwell_engine::recipe::{Checked, Recipe};

use crate::arguments::Sweep;
use crate::failure::input;
use crate::say::complain;

/// Most runs of a sweep.
const RUNS_MAX: usize = 10_000;
/// Most characters of a value in the name of a folder.
const VALUE_CHARACTERS_MAX: usize = 24;

/// A run of a sweep.
#[derive(Debug)]
pub(super) struct Member {
    /// Of its folder.
    pub(super) name: String,
    /// Keys of the sweep with this run's values.
    pub(super) settings: Vec<(String, String)>,
    pub(super) seed: u64,
    pub(super) recipe: Recipe,
}

/// All runs, settings in the order of the words and seeds inside.
pub(super) fn members(words: &Sweep) -> anyhow::Result<Vec<Member>> {
    let keys = words.set.iter().map(|set| values(set)).collect::<anyhow::Result<Vec<_>>>()?;
    let arms = combinations(&keys);
    let seeds = &words.seeds.0;
    if arms.len() * seeds.len() > RUNS_MAX {
        return Err(input(format!("at most {RUNS_MAX} runs, got: {}", arms.len() * seeds.len())));
    }
    let mut members: Vec<Member> = Vec::new();
    for settings in &arms {
        for seed in seeds {
            let set = settings.iter().map(|(key, value)| format!("{key}={value}"));
            let set: Vec<String> = set.chain([format!("seed={seed}")]).collect();
            let Checked { recipe, warnings } =
                Recipe::load(&words.recipe, &set).map_err(|all| {
                    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
                    input(lines.join("\n"))
                })?;
            if *seed == seeds[0] {
                warnings.iter().for_each(|warning| complain("warning", warning));
            }
            let name = name(settings, *seed);
            if members.iter().any(|member| member.name == name) {
                return Err(input(format!(
                    "two runs would be called `{name}`: values of a key must differ in their first \
                     {VALUE_CHARACTERS_MAX} letters and digits"
                )));
            }
            members.push(Member { name, settings: settings.clone(), seed: *seed, recipe });
        }
    }
    Ok(members)
}

/// `key=a,b` as the key and its values. A comma inside quotes or brackets belongs to a value.
fn values(set: &str) -> anyhow::Result<(String, Vec<String>)> {
    let shown = set.chars().take(80).collect::<String>();
    let split = set.split_once('=').map(|(key, values)| (key.trim(), values));
    let Some((key, text)) = split.filter(|(key, _)| !key.is_empty()) else {
        return Err(input(format!("--set: expected `key=value,value`, got: `{shown}`")));
    };
    if key == "seed" {
        return Err(input("--set: seeds are named by `--seeds`"));
    }
    let (mut values, mut depth, mut quote) = (vec![String::new()], 0usize, None);
    for c in text.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('[' | '{', None) => depth += 1,
            (']' | '}', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                values.push(String::new());
                continue;
            }
            _ => {}
        }
        values.last_mut().expect("begins with one").push(c);
    }
    let values: Vec<String> = values.iter().map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(input(format!("--set: a value is empty, got: `{shown}`")));
    }
    Ok((key.to_owned(), values))
}

/// The product; the last key turns fastest.
fn combinations(keys: &[(String, Vec<String>)]) -> Vec<Vec<(String, String)>> {
    let mut arms = vec![Vec::new()];
    for (key, values) in keys {
        let longer = |arm: &Vec<(String, String)>| {
            let with = |value: &String| {
                let mut arm = arm.clone();
                arm.push((key.clone(), value.clone()));
                arm
            };
            values.iter().map(with).collect::<Vec<_>>()
        };
        arms = arms.iter().flat_map(longer).collect();
    }
    arms
}

/// `steps-20_seed-1`: the last word of each key, and what of its value a folder's name can hold.
fn name(settings: &[(String, String)], seed: u64) -> String {
    let mut name = String::new();
    for (key, value) in settings {
        let word = key.rsplit('.').next().unwrap_or(key);
        let plain = |c: &char| c.is_ascii_alphanumeric() || "-.".contains(*c);
        let value: String = value.chars().filter(plain).take(VALUE_CHARACTERS_MAX).collect();
        let word: String = word.chars().filter(|c| plain(c) || *c == '_').collect();
        name.push_str(&format!("{word}-{value}_"));
    }
    name + &format!("seed-{seed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_a_value_do_not_part_it() {
        let parted = |set: &str| values(set).unwrap().1;
        assert_eq!(parted("a.b=1, 2"), ["1", "2"]);
        assert_eq!(parted("a=\"x,y\",'p,q'"), ["\"x,y\"", "'p,q'"]);
        let table = "{ type = \"branch\", leaves = [4, 8] }";
        assert_eq!(parted(&format!("a={table},{table}")), [table, table]);
        for (set, expected) in [
            ("a", "expected `key=value,value`"),
            ("=1", "expected `key=value,value`"),
            ("a=1,,2", "a value is empty"),
            ("a=", "a value is empty"),
            ("seed=1,2", "`--seeds`"),
        ] {
            assert!(values(set).unwrap_err().to_string().contains(expected), "{set}");
        }
    }

    #[test]
    fn all_combinations_have_names_that_differ() {
        let keys = ["s[0].rl.steps=1,2", "s[0].rl.schedule=linear"].map(|set| values(set).unwrap());
        let arms = combinations(&keys);
        let names: Vec<String> = arms.iter().map(|arm| name(arm, 3)).collect();
        let expected = ["steps-1_schedule-linear_seed-3", "steps-2_schedule-linear_seed-3"];
        assert_eq!(names, expected);
        assert_eq!(combinations(&[]), [Vec::new()]);
        assert_eq!(
            name(&[("g".to_owned(), "{ type = \"a b\" }".to_owned())], 1),
            "g-typeab_seed-1"
        );
    }
}
