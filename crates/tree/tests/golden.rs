//! Golden trees: layouts as text tables, written by hand.

use stepwell_tree::{Layout, StepTree, parse};

/// One line per row: row, step, token, position, and the rows it sees.
fn table(forest: &[StepTree]) -> String {
    let layout = Layout::pack(forest);
    let step_of = layout.step_of();
    let before = layout.predecessor();
    let mut out = String::new();
    for i in 0..layout.len() {
        let packed = step_of[i] as usize;
        let (tree, step) = layout.source[packed];
        let token = char::from_u32(layout.token[i]).expect("`parse` makes tokens of characters");
        let first = layout.rows(packed).start == i;
        let after = if first { before[packed] } else { Some(i as u32 - 1) };
        let after = after.map_or("-".to_owned(), |row| row.to_string());
        let seen: String = (0..layout.len())
            .map(|j| if layout.visible(&step_of, j, i) { '#' } else { '.' })
            .collect();
        let position = layout.position[i];
        out += &format!("{i:2} {tree}.{} {token} at {position} after {after:2} {seen}\n", step.0);
    }
    out
}

fn expect(forest: &[StepTree], expected: &str) {
    let trimmed: Vec<&str> = expected.lines().map(str::trim_start).collect();
    let got = table(forest);
    let got: Vec<&str> = got.lines().map(str::trim_start).collect();
    assert_eq!(got, trimmed[1..trimmed.len() - 1], "got:\n{}", got.join("\n"));
}

#[test]
fn a_line_is_causal() {
    let tree = parse(
        "0 - prompt q q
         1 0 policy a
         2 1 environment o o
         3 2 policy b      r=1",
    );
    expect(
        &[tree],
        "
        0 0.0 q at 0 after -  #.....
        1 0.0 q at 1 after 0  ##....
        2 0.1 a at 2 after 1  ###...
        3 0.2 o at 3 after 2  ####..
        4 0.2 o at 4 after 3  #####.
        5 0.3 b at 5 after 4  ######
        ",
    );
}

#[test]
fn a_fork_with_an_early_ending() {
    let tree = parse(
        "0 -  prompt q
         1 0  policy a a
         2 0  policy b      r=0
         3 1  environment o
         4 3  policy c      r=1
         5 3  policy d d    r=0",
    );
    expect(
        &[tree],
        "
        0 0.0 q at 0 after -  #.......
        1 0.1 a at 1 after 0  ##......
        2 0.1 a at 2 after 1  ###.....
        3 0.3 o at 3 after 2  ####....
        4 0.4 c at 4 after 3  #####...
        5 0.5 d at 4 after 3  ####.#..
        6 0.5 d at 5 after 5  ####.##.
        7 0.2 b at 1 after 0  #......#
        ",
    );
}

#[test]
fn steps_that_arrive_late_stand_where_their_index_says() {
    // The second attempt forked before the first one came back.
    let mut tree = parse(
        "0 -  prompt q
         1 0  policy b
         2 1  environment o
         3 2  policy d      r=0
         4 2  policy c      r=1
         5 0  policy a      r=1",
    );
    tree.child_index = vec![0, 1, 0, 1, 0, 0];
    let expected = "
        0 0.0 q at 0 after -  #.....
        1 0.5 a at 1 after 0  ##....
        2 0.1 b at 1 after 0  #.#...
        3 0.2 o at 2 after 2  #.##..
        4 0.4 c at 3 after 3  #.###.
        5 0.3 d at 3 after 3  #.##.#
        ";
    expect(&[tree], expected);
}

#[test]
fn two_trees_and_an_empty_observation() {
    let forest = [
        parse("0 - prompt q\n1 0 policy a\n2 1 environment\n3 2 policy b\n4 2 policy c"),
        parse("0 - prompt p\n1 0 policy a r=1"),
    ];
    expect(
        &forest,
        "
        0 0.0 q at 0 after -  #.....
        1 0.1 a at 1 after 0  ##....
        2 0.3 b at 2 after 1  ###...
        3 0.4 c at 2 after 1  ##.#..
        4 1.0 p at 0 after -  ....#.
        5 1.1 a at 1 after 4  ....##
        ",
    );
}
