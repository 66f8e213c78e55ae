//! Other bytes of known ones: bits, bytes, numbers, words, and parts moved, doubled or taken out.

use stepwell_tree::{Key, Purpose};

/// A stream of numbers that follows from its seed: those of a key, one after the other.
#[derive(Clone, Debug)]
pub struct Draws {
    key: Key,
    taken: u64,
}

impl Draws {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Draws {
        Draws { key: Key::new(seed, Purpose::Sample), taken: 0 }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.taken += 1;
        self.key.with(self.taken).bits()
    }

    /// A number below `end`; 0 where `end` is.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.bits() % end as u64) as usize }
    }
}

/// Values at which programs go wrong.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    7,
    8,
    16,
    64,
    100,
    127,
    128,
    255,
    256,
    1024,
    4096,
    32_767,
    65_535,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 60,
    i64::MAX as u64,
    u64::MAX,
];

/// The same as people write them, and what only looks like a number.
const WRITTEN: [&str; 14] = [
    "0",
    "-1",
    "-0",
    "1e999",
    "1e-999",
    "NaN",
    "null",
    "1.5",
    "18446744073709551615",
    "9223372036854775808",
    "340282366920938463463374607431768211456",
    "0x10",
    "1_000",
    "true",
];

/// Texts that many parsers treat apart.
const TEXTS: [&str; 18] = [
    "\0",
    "\u{feff}",
    "\r\n",
    "\\u0000",
    "\\ud800",
    "\u{202e}",
    "\u{1b}[2J",
    "é",
    "😀",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "\n",
    " ",
    "<|im_end|>",
];

/// One to eight changes of `input`, at most `bytes_max` bytes in the end. `other` is another known
/// input, whose parts may come over.
pub fn mutate(
    draws: &mut Draws,
    input: &[u8],
    other: &[u8],
    words: &[&str],
    bytes_max: usize,
) -> Vec<u8> {
    let mut bytes = input.to_vec();
    // Mostly few: many at once seldom come through the first check.
    let changes = 1 + (draws.bits().trailing_zeros() as usize).min(7);
    for _ in 0..changes {
        change(draws, &mut bytes, other, words);
        bytes.truncate(bytes_max);
    }
    bytes
}

/// A place in the bytes; half of them near the start, where headers are.
fn place(draws: &mut Draws, length: usize) -> usize {
    let near = if draws.below(2) == 0 { length.min(512) } else { length };
    draws.below(near + 1)
}

/// A stretch of bytes, mostly short.
fn stretch(draws: &mut Draws, length: usize) -> std::ops::Range<usize> {
    let begin = place(draws, length);
    let most = if draws.below(4) == 0 { length } else { 32 };
    let end = (begin + 1 + draws.below(most)).min(length);
    begin.min(end)..end
}

fn change(draws: &mut Draws, bytes: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let length = bytes.len();
    let at = place(draws, length);
    match draws.below(14) {
        0 if at < length => bytes[at] ^= 1 << draws.below(8),
        1 if at < length => bytes[at] = draws.bits() as u8,
        2 => drop(bytes.drain(stretch(draws, length))),
        3 => {
            let part = bytes[stretch(draws, length)].to_vec();
            insert(bytes, at, &part);
        }
        4 => {
            let part = &bytes[stretch(draws, length)];
            let times = 1 << draws.below(13);
            let many = part.repeat(times.min(1 + 65_536 / part.len().max(1)));
            insert(bytes, at, &many);
        }
        5 | 6 if !words.is_empty() => {
            let word = words[draws.below(words.len())];
            put(draws, bytes, at, word.as_bytes());
        }
        7 => {
            let text = TEXTS[draws.below(TEXTS.len())];
            put(draws, bytes, at, text.as_bytes());
        }
        8 => number(draws, bytes),
        9 => {
            let value = NUMBERS[draws.below(NUMBERS.len())].to_le_bytes();
            let width = [1, 2, 4, 8][draws.below(4)];
            let end = (at + width).min(length);
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
        10 => {
            let part = &other[stretch(draws, other.len())];
            put(draws, bytes, at, part);
        }
        11 => {
            let tail = &other[place(draws, other.len())..];
            bytes.truncate(at);
            bytes.extend_from_slice(tail);
        }
        12 => bytes.truncate(at),
        _ => {
            let value = NUMBERS[draws.below(NUMBERS.len())].to_le_bytes();
            insert(bytes, at, &value[..[1, 2, 4, 8][draws.below(4)]]);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}

/// Inserts a part, or writes it over what is there.
fn put(draws: &mut Draws, bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    let end = if draws.below(2) == 0 { at } else { (at + part.len()).min(bytes.len()) };
    bytes.splice(at..end, part.iter().copied());
}

/// Writes another number in the place of a written one.
fn number(draws: &mut Draws, bytes: &mut Vec<u8>) {
    let from = place(draws, bytes.len());
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(begin) = bytes[from..].iter().position(digit).map(|at| from + at) else { return };
    let end = bytes[begin..].iter().position(|b| !digit(b)).map_or(bytes.len(), |n| begin + n);
    bytes.splice(begin..end, WRITTEN[draws.below(WRITTEN.len())].bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_seed_others() {
        let stream = |seed| {
            let mut draws = Draws::new(seed);
            let one = |_| mutate(&mut draws, b"{\"a\": 12}", b"[1, 2]", &["word"], 64);
            (0..500).map(one).collect::<Vec<_>>()
        };
        assert_eq!(stream(1), stream(1));
        let differing = stream(1).iter().zip(stream(2)).filter(|(a, b)| *a != b).count();
        assert!(differing > 450, "{differing}");
        assert!(stream(3).iter().all(|bytes| bytes.len() <= 64));
        let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
        let found = |part: &[u8]| stream(1).iter().any(|bytes| holds(bytes, part));
        assert!(found(b"word") && found(b"[1, 2]") && found(b"NaN"));
    }

    #[test]
    fn nothing_is_too_short_to_be_changed() {
        let mut draws = Draws::new(9);
        for _ in 0..2000 {
            mutate(&mut draws, b"", b"", &[], 8);
            mutate(&mut draws, b"x", b"", &["y"], 8);
        }
    }
}
