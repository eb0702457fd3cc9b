//! Recognizes expressions that are certain to end quickly.
//!
//! What passes can do no more than walk over the document a fixed number of times. It is a list of what is known to be
//! cheap, so that whatever is not on it, and whatever jq learns later, is run by the worker and its limits.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Term};
use jaq_core::ops::Math;
use jaq_core::path::Part;

use crate::converter::Converter;

/// A longer text is not looked at: its size also bounds how deep a parser goes and what a literal adds to each element.
const LONGEST: usize = 256;

/// How often a text may double what it is given: `,` and `+`.
const MOST_DOUBLINGS: u32 = 8;

/// Functions without arguments that take time in proportion to the value.
const FUNCTIONS: &[&str] = &[
    "add",
    "all",
    "any",
    "ascii_downcase",
    "ascii_upcase",
    "ceil",
    "empty",
    "false",
    "first",
    "floor",
    "from_entries",
    "keys",
    "keys_unsorted",
    "last",
    "length",
    "max",
    "min",
    "not",
    "null",
    "reverse",
    "round",
    "sort",
    "to_entries",
    "tojson",
    "tonumber",
    "tostring",
    "true",
    "type",
    "unique",
    "values",
];

/// Functions that run their argument once on each element.
const EACH: &[&str] = &["map", "select"];

/// Functions that run their argument once on each element, and may be given no stream.
const BY: &[&str] = &["group_by", "max_by", "min_by", "sort_by", "unique_by"];

/// Functions with a literal text or number as their argument.
const LITERAL: &[&str] =
    &["contains", "endswith", "has", "index", "join", "ltrimstr", "rtrimstr", "split", "startswith"];

/// What a term gives: one value at most, or any number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutputCount {
    One,
    Many,
}

/// Whether the expression is on the list.
pub(super) fn is_plain(text: &str) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    let Some(term) = jaq_core::load::parse(text, |parser| parser.term()) else { return false };
    let mut doublings = 0;
    gives(&term, &mut doublings).is_some() && doublings <= MOST_DOUBLINGS
}

/// Absent where the term is not known to be cheap.
fn gives(term: &Term<&str>, doublings: &mut u32) -> Option<OutputCount> {
    match term {
        Term::Id | Term::Num(_) => Some(OutputCount::One),
        Term::Str(None, parts) => {
            // Each stream inside a text multiplies the others.
            let mut terms =
                parts.iter().filter_map(|part| if let StrPart::Term(term) = part { Some(term) } else { None });
            terms.try_fold(OutputCount::One, |so_far, term| one_of(so_far, gives(term, doublings)?))
        }
        Term::Arr(inner) => {
            if let Some(inner) = inner {
                gives(inner, doublings)?;
            }
            Some(OutputCount::One)
        }
        Term::Obj(members) => members.iter().try_fold(OutputCount::One, |so_far, (key, value)| {
            let so_far = one_of(so_far, gives(key, doublings)?)?;
            value.as_ref().map_or(Some(so_far), |value| one_of(so_far, gives(value, doublings)?))
        }),
        Term::Neg(inner) => gives(inner, doublings),
        Term::BinOp(left, op, right) => binary(left, op, right, doublings),
        Term::TryCatch(inner, None) => gives(inner, doublings),
        Term::IfThenElse(cases, last) => {
            let mut all = OutputCount::One;
            for (condition, then) in cases {
                single(condition, doublings)?;
                all = either(all, gives(then, doublings)?);
            }
            let last = last.as_ref().map_or(Some(OutputCount::One), |last| gives(last, doublings))?;
            Some(either(all, last))
        }
        Term::Call(name, arguments) => call(name, arguments, doublings),
        Term::Path(start, path) => {
            let mut all = gives(start, doublings)?;
            for (part, _) in &path.0 {
                match part {
                    Part::Index(index) => single(index, doublings)?,
                    Part::Range(None, None) => all = OutputCount::Many,
                    Part::Range(from, to) => {
                        from.iter().chain(to).try_for_each(|end| single(end, doublings))?;
                    }
                }
            }
            Some(all)
        }
        _ => None,
    }
}

fn binary(left: &Term<&str>, op: &BinaryOp<&str>, right: &Term<&str>, doublings: &mut u32) -> Option<OutputCount> {
    match op {
        BinaryOp::Pipe(None) | BinaryOp::Alt => Some(either(gives(left, doublings)?, gives(right, doublings)?)),
        BinaryOp::Comma => {
            *doublings += 1;
            gives(left, doublings)?;
            gives(right, doublings)?;
            Some(OutputCount::Many)
        }
        BinaryOp::Math(Math::Add) => {
            *doublings += 1;
            one_of(gives(left, doublings)?, gives(right, doublings)?)
        }
        // Texts can be multiplied, and lists be taken from lists and texts divided by texts, element by element.
        BinaryOp::Math(Math::Sub | Math::Div | Math::Rem) if matches!(right, Term::Num(_)) => gives(left, doublings),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Cmp(_) => one_of(gives(left, doublings)?, gives(right, doublings)?),
        _ => None,
    }
}

fn call(name: &str, arguments: &[Term<&str>], doublings: &mut u32) -> Option<OutputCount> {
    match arguments {
        [] if FUNCTIONS.contains(&name) => Some(OutputCount::One),
        [argument] if EACH.contains(&name) => {
            let given = gives(argument, doublings)?;
            Some(if name == "map" { OutputCount::One } else { given })
        }
        // Each of its results is a short one, or grows with a literal replacement, which has a limit of its own.
        arguments if Converter::exists(name, arguments.len()) => {
            arguments.iter().all(is_literal).then_some(OutputCount::One)
        }
        [argument] if BY.contains(&name) => single(argument, doublings).map(|()| OutputCount::One),
        [Term::Num(_)] if LITERAL.contains(&name) => Some(OutputCount::One),
        [Term::Str(None, parts)] if LITERAL.contains(&name) => {
            parts.iter().all(|part| !matches!(part, StrPart::Term(_))).then_some(OutputCount::One)
        }
        _ => None,
    }
}

/// Whether a term is a number or a text without other terms in it.
fn is_literal(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) => true,
        Term::Str(None, parts) => parts.iter().all(|part| !matches!(part, StrPart::Term(_))),
        _ => false,
    }
}

fn single(term: &Term<&str>, doublings: &mut u32) -> Option<()> {
    (gives(term, doublings)? == OutputCount::One).then_some(())
}

/// Two streams side by side give every pair: no more than one may be a stream.
fn one_of(one: OutputCount, other: OutputCount) -> Option<OutputCount> {
    match (one, other) {
        (OutputCount::Many, OutputCount::Many) => None,
        _ => Some(either(one, other)),
    }
}

fn either(one: OutputCount, other: OutputCount) -> OutputCount {
    if one == OutputCount::Many { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_expressions_are_plain() {
        for text in [
            ".",
            ".title",
            ".connections[].connection",
            ".items | length",
            "{n, id: .key}",
            ".[] | select(.status == \"open\" and (.labels | length > 2)) | .title",
            "[.[] | {name, size: (.size // 0)}] | sort_by(.size)",
            "map(select(.type | startswith(\"charge.\"))) | length",
            "\"\\(.a): \\(.b)\"",
            "if .a then .b elif .c then .d else empty end",
            ".a[2:4], .b?",
        ] {
            assert!(is_plain(text), "{text}");
        }
    }

    #[test]
    fn what_may_run_away_is_not() {
        let doubled = ["(.,.)"; 20].join("|");
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for text in [
            "def f: 1+f; f",
            "def f: f; f",
            "..",
            "[range(1e9)]",
            "[range(1000000000)]",
            "repeat(.)",
            "recurse(.)",
            "until(false; .)",
            "\"x\" * 1000000000",
            "[.[] + .[]]",
            "{a: .[], b: .[]}",
            "\"\\(.[])\\(.[])\"",
            ".[] as $a | .[] as $b | 1",
            "reduce .[] as $x (0; . + $x)",
            "halt",
            "env",
            "fromjson",
            ".a |= .b",
            ".[1,2]",
            &doubled,
            &deep,
        ] {
            assert!(!is_plain(text), "{text}");
        }
        assert!(!is_plain(&".a".repeat(200)));
    }
}
