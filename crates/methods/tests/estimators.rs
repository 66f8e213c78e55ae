//! What an estimator learns from an update is what was planted there: tables as heads, gradients of
//! the losses alone, divisors of the whole update.

use stepwell_methods::reward::outcome;
use stepwell_methods::{EstimatorConfig, estimator};
use stepwell_tree::{Key, Purpose, StepTree, parse};

/// What each kind of turn contributes to the outcome.
const CONTRIBUTES: [f64; 4] = [0.5, 0.25, 0.0, -0.125];
const KINDS: [char; 4] = ['a', 'b', 'c', 'd'];

fn kind(tree: &StepTree, step: usize) -> usize {
    let token = tree.token[tree.span[step].range()][0];
    KINDS.iter().position(|k| u32::from(*k) == token).expect("a turn of a known kind")
}

/// Attempts of one to four turns, each of a kind, that earn what their turns contribute.
fn attempts() -> Vec<StepTree> {
    let tree = |n: u64| {
        let key = Key::new(5, Purpose::World).with(n);
        let mut table = "0 - prompt q\n".to_owned();
        let mut row = 1;
        for attempt in 0..3 {
            let key = key.with(attempt);
            let (mut parent, mut earned) = (0, 0.0);
            let turns = 1 + key.with(9).below(4);
            for turn in 0..turns {
                let kind = key.with(turn as u64).below(4);
                earned += CONTRIBUTES[kind];
                let end = if turn + 1 == turns { format!(" r={earned}") } else { String::new() };
                table += &format!("{row} {parent} policy {}{end}\n", KINDS[kind]);
                parent = row;
                row += 1;
            }
        }
        parse(&table)
    };
    (0..20).map(tree).collect()
}

/// Trains a number per kind of turn, and gives the numbers and the last loss.
fn train(method: &EstimatorConfig, forest: &[StepTree], rate: f64) -> ([f64; 4], f64) {
    let rewards = outcome::reward(forest);
    let each = || forest.iter().zip(&rewards.leaf);
    let divisor = each().map(|(tree, leaf)| method.terms(tree, leaf)).sum::<usize>() as f64;
    let mut table = [0.0; 4];
    let mut last = 0.0;
    for _ in 0..3000 {
        let mut gradient = [0.0; 4];
        last = 0.0;
        for (tree, leaf) in each() {
            let said = |i: usize| if i == 0 { 0.0 } else { table[kind(tree, i)] as f32 };
            let score: Vec<f32> = (0..tree.len()).map(said).collect();
            let loss = method.loss(tree, leaf, &score, divisor);
            last += loss.value;
            for (i, d) in loss.d_score.iter().enumerate().skip(1) {
                gradient[kind(tree, i)] += f64::from(*d);
            }
        }
        table.iter_mut().zip(gradient).for_each(|(c, d)| *c -= rate * d);
    }
    (table, last)
}

#[test]
fn contributions_are_found_from_sums_alone() {
    let method = EstimatorConfig::Progress(estimator::progress::Config::default());
    let (table, loss) = train(&method, &attempts(), 0.1);
    for (got, planted) in table.iter().zip(CONTRIBUTES) {
        assert!((got - planted).abs() < 1e-4, "{table:?}");
    }
    assert!(loss < 1e-8, "{loss}");
}

#[test]
fn comparisons_find_the_order() {
    // Attempts of a single turn: better kinds win always, so that scores drift apart in order.
    let tree = "0 - prompt q\n1 0 policy a r=0.5\n2 0 policy b r=0.25\n3 0 policy c r=0";
    let forest = [parse(tree), parse("0 - prompt q\n1 0 policy c r=0\n2 0 policy d r=-0.125")];
    for method in [
        EstimatorConfig::BradleyTerry(estimator::bradley_terry::Config::default()),
        EstimatorConfig::PlackettLuce(estimator::plackett_luce::Config::default()),
    ] {
        let (table, loss) = train(&method, &forest, 1.0);
        assert!(table.is_sorted_by(|a, b| a > b), "{} {table:?}", method.name());
        assert!(loss < 0.05, "{} {loss}", method.name());
    }
}

#[test]
fn chances_are_those_of_what_follows() {
    // b goes on to c, right half of the time, and to d, wrong; a is wrong.
    let text = "0 - prompt q\n1 0 policy a r=0\n2 0 policy b\n3 2 policy c r=1\n4 2 policy d r=0";
    let forest = [parse(text), parse("0 - prompt q\n1 0 policy c r=0")];
    let soft = estimator::process::Config {
        labels: estimator::Labels::Soft,
        ..estimator::process::Config::default()
    };
    let (table, _) = train(&EstimatorConfig::Process(soft), &forest, 2.0);
    let chance = table.map(|s| f64::from(EstimatorConfig::Process(soft).column(s as f32)));
    assert!((chance[1] - 0.5).abs() < 1e-4 && (chance[2] - 0.5).abs() < 1e-4, "{chance:?}");
    assert!(chance[0] < 0.01 && chance[3] < 0.01, "{chance:?}");
    // Hard, b can be right.
    let hard = EstimatorConfig::Process(estimator::process::Config::default());
    let (table, _) = train(&hard, &forest, 2.0);
    assert!(hard.column(table[1] as f32) > 0.99, "{table:?}");
}
