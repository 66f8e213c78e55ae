//! The closed lists that all problems are made of.
//!
//! In a text, `{n}` and `{m}` are two names, `{o}` is a kind of thing, `{a}`, `{b}`, `{c}` are
//! numbers. A calculation names two of the numbers, or `v` for the result of the one before it.

/// One kind of problem.
pub(super) struct Template {
    /// What is asked.
    pub(super) text: &'static str,
    /// How it is worked out, one calculation per step.
    pub(super) steps: &'static [&'static str],
    /// Numbers that stay below ten, so that products and shares read like those of a schoolbook.
    pub(super) few: &'static str,
}

const fn template(
    text: &'static str,
    steps: &'static [&'static str],
    few: &'static str,
) -> Template {
    Template { text, steps, few }
}

pub(super) const NAMES: [&str; 16] = [
    "Tom", "Mia", "Ben", "Anna", "Leo", "Sara", "Max", "Nora", "Paul", "Lily", "Sam", "Ella",
    "Finn", "Ruth", "Omar", "Ida",
];

pub(super) const THINGS: [&str; 16] = [
    "apples", "pens", "books", "coins", "stamps", "cards", "marbles", "shells", "stickers",
    "balls", "cups", "plates", "candles", "flowers", "keys", "stones",
];

/// One calculation.
pub(super) const ONE_STEP: [Template; 29] = [
    template("{n} has {a} {o} and buys {b} more. How many {o} does {n} have now?", &["a + b"], ""),
    template(
        "There are {a} {o} on one shelf and {b} on another. How many {o} are there in all?",
        &["a + b"],
        "",
    ),
    template(
        "{n} counts {a} {o} on Monday and {b} on Tuesday. How many {o} does {n} count in both \
         days together?",
        &["a + b"],
        "",
    ),
    template(
        "{n} picked {a} {o} and {m} picked {b}. How many {o} did they pick together?",
        &["a + b"],
        "",
    ),
    template(
        "After giving away {b} {o}, {n} has {a} left. How many {o} did {n} have before?",
        &["a + b"],
        "",
    ),
    template(
        "A train has {a} passengers and {b} more get on. How many passengers are on the train now?",
        &["a + b"],
        "",
    ),
    template(
        "{n} read {a} pages last week and {b} pages this week. How many pages did {n} read in \
         the two weeks?",
        &["a + b"],
        "",
    ),
    template("{n} is {a} years old. How old will {n} be in {b} years?", &["a + b"], ""),
    template(
        "{n} has {a} {o} and gives {b} to {m}. How many {o} does {n} have left?",
        &["a - b"],
        "",
    ),
    template(
        "{n} has {a} {o}. {m} has {b}. How many more {o} does {n} have than {m}?",
        &["a - b"],
        "",
    ),
    template(
        "A book has {a} pages. {n} has read {b} of them. How many pages are left to read?",
        &["a - b"],
        "",
    ),
    template(
        "There were {a} {o} in the shop and {b} were sold. How many {o} remain?",
        &["a - b"],
        "",
    ),
    template(
        "{n} wants to buy a coat for {a} dollars and has {b} dollars. How many dollars are \
         missing?",
        &["a - b"],
        "",
    ),
    template(
        "A rope is {a} meters long. {n} cuts off {b} meters. How many meters of rope remain?",
        &["a - b"],
        "",
    ),
    template(
        "{b} of the {a} {o} in a box are broken. How many {o} in the box are not broken?",
        &["a - b"],
        "",
    ),
    template("Each box holds {a} {o}. How many {o} do {b} boxes hold?", &["a * b"], "b"),
    template(
        "{n} buys {b} tickets for {a} dollars each. How many dollars does {n} pay?",
        &["a * b"],
        "b",
    ),
    template(
        "There are {b} rows with {a} chairs in each row. How many chairs are there?",
        &["a * b"],
        "b",
    ),
    template(
        "{n} earns {a} dollars an hour and works {b} hours. How many dollars does {n} earn?",
        &["a * b"],
        "b",
    ),
    template(
        "{n} runs {a} kilometers every day. How many kilometers does {n} run in {b} days?",
        &["a * b"],
        "b",
    ),
    template(
        "A bag of {o} weighs {b} kilograms. How many kilograms do {a} bags weigh?",
        &["a * b"],
        "b",
    ),
    template(
        "{n} has {a} {o}. {m} has {b} times as many. How many {o} does {m} have?",
        &["a * b"],
        "b",
    ),
    template(
        "{n} shares {a} {o} equally among {b} friends. How many {o} does each friend get?",
        &["a / b"],
        "b",
    ),
    template(
        "{n} puts {a} {o} into {b} boxes, the same number in each. How many {o} are in each box?",
        &["a / b"],
        "b",
    ),
    template(
        "A ribbon of {a} meters is cut into {b} equal pieces. How many meters long is each piece?",
        &["a / b"],
        "b",
    ),
    template("{b} {o} cost {a} dollars. How many dollars does one cost?", &["a / b"], "b"),
    template(
        "{n} reads {b} pages every day. How many days does {n} need for a book of {a} pages?",
        &["a / b"],
        "b",
    ),
    template("{a} children form teams of {b}. How many teams are there?", &["a / b"], "b"),
    template(
        "{n} paid {a} dollars for {b} tickets. How many dollars did each ticket cost?",
        &["a / b"],
        "b",
    ),
];

/// Two calculations.
pub(super) const TWO_STEPS: [Template; 26] = [
    template(
        "{n} has {a} {o}, buys {b} more and gives {c} to {m}. How many {o} does {n} have now?",
        &["a + b", "v - c"],
        "",
    ),
    template(
        "A bus has {a} passengers. {b} get off and {c} get on. How many passengers are on the \
         bus now?",
        &["a - b", "v + c"],
        "",
    ),
    template(
        "{n} had {a} dollars. {n} spent {b} dollars on a book and {c} dollars on lunch. How many \
         dollars are left?",
        &["a - b", "v - c"],
        "",
    ),
    template(
        "{n} picked {a} {o}, {m} picked {b} and they found {c} more. How many {o} do they have \
         together?",
        &["a + b", "v + c"],
        "",
    ),
    template(
        "There are {a} {o} in a shop. {b} are sold in the morning and {c} in the afternoon. How \
         many {o} remain?",
        &["a - b", "v - c"],
        "",
    ),
    template(
        "{n} is {a} years old and {m} is {b} years older. How old will {m} be in {c} years?",
        &["a + b", "v + c"],
        "",
    ),
    template(
        "{n} buys {b} boxes of {a} {o} and already had {c}. How many {o} does {n} have now?",
        &["a * b", "v + c"],
        "b",
    ),
    template(
        "Each of {b} boxes holds {a} {o}. {c} {o} are broken. How many are not broken?",
        &["a * b", "v - c"],
        "b",
    ),
    template(
        "{n} earns {a} dollars an hour, works {b} hours and spends {c} dollars. How many dollars \
         are left?",
        &["a * b", "v - c"],
        "b",
    ),
    template(
        "{n} buys {b} tickets for {a} dollars each and a drink for {c} dollars. How many dollars \
         does {n} pay?",
        &["a * b", "v + c"],
        "b",
    ),
    template(
        "There are {b} rows of {a} chairs and {c} more chairs outside. How many chairs are there \
         in all?",
        &["a * b", "v + c"],
        "b",
    ),
    template(
        "{n} runs {a} kilometers a day for {b} days. The goal is {c} kilometers. How many \
         kilometers are missing?",
        &["a * b", "c - v"],
        "ab",
    ),
    template(
        "{n} has {c} dollars and buys {b} pens for {a} dollars each. How many dollars are left?",
        &["a * b", "c - v"],
        "ab",
    ),
    template(
        "A book has {c} pages. {n} reads {a} pages a day for {b} days. How many pages are left?",
        &["a * b", "c - v"],
        "ab",
    ),
    template(
        "{n} has {a} {o}. {m} has {b} times as many. How many {o} do they have together?",
        &["a * b", "v + a"],
        "b",
    ),
    template(
        "{n} shares {a} {o} equally among {b} children. {m}, one of them, already had {c}. How \
         many {o} does {m} have now?",
        &["a / b", "v + c"],
        "b",
    ),
    template(
        "{n} puts {a} {o} equally into {b} bags and takes {c} out of one bag. How many {o} are \
         left in that bag?",
        &["a / b", "v - c"],
        "bc",
    ),
    template(
        "{n} has {a} {o} and buys {b} more. {n} puts all of them into {c} boxes equally. How \
         many {o} are in each box?",
        &["a + b", "v / c"],
        "c",
    ),
    template(
        "{n} had {a} {o} and lost {b}. The others are shared by {c} friends equally. How many \
         {o} does each friend get?",
        &["a - b", "v / c"],
        "c",
    ),
    template(
        "{b} tickets cost {a} dollars. How many dollars do {c} tickets cost?",
        &["a / b", "v * c"],
        "bc",
    ),
    template(
        "{n} packs {a} {o} into boxes of {b}. Each box is sold for {c} dollars. How many dollars \
         does {n} get?",
        &["a / b", "v * c"],
        "bc",
    ),
    template(
        "A class has {a} girls and {b} boys. Each child gets {c} pencils. How many pencils are \
         needed?",
        &["a + b", "v * c"],
        "c",
    ),
    template(
        "{n} has {a} {o}, keeps {b} and sells the others for {c} dollars each. How many dollars \
         does {n} get?",
        &["a - b", "v * c"],
        "c",
    ),
    template(
        "There are {b} shelves with {a} {o} each. They are packed into {c} boxes equally. How \
         many {o} are in each box?",
        &["a * b", "v / c"],
        "bc",
    ),
    template(
        "{n} works {a} hours on Saturday and {b} hours on Sunday and earns {c} dollars an hour. \
         How many dollars does {n} earn?",
        &["a + b", "v * c"],
        "c",
    ),
    template(
        "A shop has {a} boxes with {c} {o} in each. {b} boxes are sold. How many {o} remain?",
        &["a - b", "v * c"],
        "c",
    ),
];
