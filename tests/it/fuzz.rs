//! Connector files, mutilated at random: no input may panic the validator or keep it for a second, and what it calls valid
//! must be a connector. Runs 2 s; `INTEG_FUZZ_SECONDS` makes it longer and `INTEG_TEST_SEED` makes it another run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use integ::connector::{BUILT_IN, Pointer, Template, descriptor, parse, validate};

/// No file that a person writes takes a hundredth of it.
const LONGEST: Duration = Duration::from_secs(1);

/// SplitMix64: a run is known by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`, and 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// A range of a text, within its characters.
    fn range(&mut self, text: &str, longest: usize) -> std::ops::Range<usize> {
        let floor = |at: usize| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let start = self.below(text.len() + 1);
        let end = (start + self.below(longest + 1)).min(text.len());
        floor(start)..floor(end).max(floor(start))
    }

    fn text(&mut self, longest: usize) -> String {
        let length = self.below(longest);
        let ranges = [0x20..0x7f, 0..0x20, 0x80..0x800, 0x2000..0x2070, 0xfff0..0x1_0000, 0x1_f300..0x1_f600];
        let range = ranges[self.below(ranges.len())].clone();
        let width = usize::try_from(range.end - range.start).unwrap();
        (0..length).filter_map(|_| char::from_u32(range.start + u32::try_from(self.below(width)).unwrap())).collect()
    }
}

const VALUES: &[&str] = &[
    "1",
    "-1",
    "0",
    "65536",
    "4294967296",
    "9223372036854775808",
    "1e999",
    "nan",
    "-inf",
    "0x7f",
    "1.5",
    "true",
    "false",
    "2026-01-01",
    "10:00:00",
    "2026-01-01T00:00:00Z",
    "\"\"",
    "\"x\"",
    "\"{\"",
    "\"}\"",
    "\"{a}{b}\"",
    "\"{{}}\"",
    "\"/a~\"",
    "\"/a/0/b\"",
    "\"$.a\"",
    "\"https://x/\"",
    "'GET'",
    "\"form\"",
    "\"array\"",
    "[]",
    "[1]",
    "[\"a\"]",
    "[[\"a\"]]",
    "[{}]",
    "{}",
    "{ a = 1 }",
    "{ a = \"b\" }",
    "{ value = \"{value}\" }",
    "\"\"\"\nx\n\"\"\"",
    "'''x'''",
    "\"\\u0000\"",
    "",
];

const TOKENS: &[&str] = &[
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "{{",
    "}}",
    "=",
    "==",
    ".",
    ",",
    "#",
    "\\",
    "\\u",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\u{feff}",
    "\u{2028}",
    "~",
    "/",
    "{value}",
    "vendor = \"google\"\n",
    "[auth]\n",
    "[[errors]]\n",
];

/// One change of a text.
fn mutate(random: &mut Random, text: &str, others: &[&str]) -> String {
    let range = random.range(text, 200);
    let mut out = text.to_owned();
    match random.below(20) {
        0 => {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            out = String::from_utf8_lossy(&bytes).into_owned();
        }
        1 => out.replace_range(range, ""),
        2 => {
            let other = random.pick(others);
            let part = random.range(other, 2000);
            out.replace_range(range, &other[part]);
        }
        3 => return by_lines(random, text, others),
        4 => return with_value(random, text),
        5 => out.replace_range(range.start..range.start, &random.text(60)),
        6 => out.replace_range(range.start..range.start, &nested(random)),
        7 => {
            let piece = random.pick(TOKENS);
            let longest = [100, 5_000, 200_000 / piece.len().max(1)][random.below(3)];
            out.replace_range(range, &piece.repeat(random.below(longest)));
        }
        8 => out.replace_range(range, &random.text(60)),
        9 => out.replace_range(range.start..range.start, random.pick(TOKENS)),
        10 => out.replace_range(range.start..range.start, &text[range.clone()]),
        11 => out.truncate(range.start),
        // What stays TOML comes furthest.
        _ => return with_value(random, text),
    }
    out
}

/// Lines moved, doubled, left out or taken from another file.
fn by_lines(random: &mut Random, text: &str, others: &[&str]) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    if lines.is_empty() {
        return text.to_owned();
    }
    match random.below(5) {
        0 => lines.swap(one, other),
        1 => lines.insert(one, lines[other]),
        2 => drop(lines.remove(one)),
        3 => {
            let moved = lines.remove(one);
            lines.insert(other.min(lines.len()), moved);
        }
        _ => {
            let from: Vec<&str> = random.pick(others).lines().collect();
            let start = random.below(from.len());
            let end = (start + random.below(8)).min(from.len());
            lines.splice(one..one, from[start..end].iter().copied());
        }
    }
    lines.join("\n")
}

/// A line with another value, of any type, or with another key.
fn with_value(random: &mut Random, text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let pairs: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].contains(" = ")).collect();
    if pairs.is_empty() {
        return text.to_owned();
    }
    let (one, other) = (pairs[random.below(pairs.len())], pairs[random.below(pairs.len())]);
    let part = |line: &str| line.split_once(" = ").map(|(key, value)| (key.to_owned(), value.to_owned())).unwrap();
    let ((key, value), (another_key, another_value)) = (part(&lines[one]), part(&lines[other]));
    lines[one] = match random.below(4) {
        0 => format!("{another_key} = {value}"),
        1 => format!("{key} = {another_value}"),
        2 => format!("{key} = {:?}", random.text(40)),
        _ => format!("{key} = {}", random.pick(VALUES)),
    };
    lines.join("\n")
}

/// Something within something within something.
fn nested(random: &mut Random) -> String {
    let deepest = [10, 200, 20_000][random.below(3)];
    let depth = 1 + random.below(deepest);
    let (open, close) = [("[", "]"), ("{ a = ", " }"), ("[{ a = ", " }]")][random.below(3)];
    match random.below(5) {
        0 => format!("\nx = {}", open.repeat(depth)),
        1 => format!("\n[{}a]\n", "a.".repeat(depth)),
        2 => format!("\n{}a = 1\n", "a.".repeat(depth)),
        3 => format!("\n[[{}a]]\n", "a.".repeat(depth)),
        _ => format!("\nx = {}1{}\n", open.repeat(depth), close.repeat(depth)),
    }
}

/// Whether the file is valid, after everything that is done with it.
fn exercise(random: &mut Random, text: &str) -> bool {
    let mistakes = validate(text);
    let lines = text.matches('\n').count() + 1;
    for mistake in &mistakes {
        assert!((1..=lines).contains(&mistake.line) && !mistake.message.is_empty(), "{mistake:?}");
    }
    for _ in 0..4 {
        let piece = &text[random.range(text, 80)];
        if let Ok(template) = Template::parse(piece) {
            assert_eq!(template.to_string(), piece);
        }
        if let Ok(pointer) = Pointer::parse(piece) {
            assert_eq!(pointer.tokens().count() == 0, piece.is_empty());
        }
    }
    if mistakes.is_empty() {
        let connector = parse(text).expect("a valid file is a connector");
        assert_eq!(descriptor(&connector).id, connector.id);
    }
    mistakes.is_empty()
}

#[test]
fn fuzz_validate() {
    let seconds = std::env::var("INTEG_FUZZ_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    let seed = std::env::var("INTEG_TEST_SEED").map_or(20_261_121, |seed| seed.parse().unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors/invalid");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let broken: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let files: Vec<&str> = BUILT_IN.iter().map(|(_, text)| *text).chain(broken.iter().map(String::as_str)).collect();
    // Written before it is tried, so that an abort leaves it too.
    let current = std::env::temp_dir().join(format!("integ-fuzz-{}.toml", std::process::id()));
    eprintln!("seed {seed}, {seconds} s; the input at hand: {}", current.display());
    let mut random = Random(seed);
    let started = Instant::now();
    let (mut inputs, mut valid, mut slowest) = (0_u64, 0_u64, Duration::ZERO);
    while started.elapsed() < Duration::from_secs(seconds) {
        // The built-in files are fewer, larger and valid: half of the inputs come from them.
        let of = if random.below(2) == 0 { &files[..BUILT_IN.len()] } else { &files[..] };
        let mut text = random.pick(of).to_owned();
        let most = 1 + 4 * random.below(2);
        for _ in 0..=random.below(most) {
            text = mutate(&mut random, &text, &files);
        }
        std::fs::write(&current, &text).unwrap();
        // A machine with other work may stop it for a while: what is slow is slow three times.
        let mut taken = Duration::MAX;
        for _ in 0..3 {
            let begun = Instant::now();
            let ran = catch_unwind(AssertUnwindSafe(|| exercise(&mut random, &text)));
            taken = taken.min(begun.elapsed());
            let is_valid = ran.unwrap_or_else(|_| panic!("input {inputs} of seed {seed}: {}", current.display()));
            if taken < LONGEST {
                valid += u64::from(is_valid);
                break;
            }
        }
        assert!(taken < LONGEST, "input {inputs} of seed {seed} takes {taken:?}: {}", current.display());
        inputs += 1;
        slowest = slowest.max(taken);
        if inputs.is_multiple_of(100_000) {
            eprintln!("{} s: {inputs} inputs, {valid} valid, the slowest {slowest:?}", started.elapsed().as_secs());
        }
    }
    std::fs::remove_file(&current).unwrap();
    eprintln!("seed {seed}: {inputs} inputs, {valid} valid, none panicked, the slowest took {slowest:?}");
}
