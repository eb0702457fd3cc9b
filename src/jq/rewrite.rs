//! jq in which a path that leads nowhere is an error.
//!
//! In jq a member that is missing is null, and so is everything below it: a mapping with a typing error gives empty columns
//! and says nothing. In a binding each path must lead to a value other than null, unless it ends with `?` or a default
//! follows by `//`. The expression is taken apart by jaq's own parser and written again with a check behind each path.

use std::fmt::Write;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::path::{Opt, Part, Path};

use super::converters::PRESENT;

/// Functions that take paths instead of values: nothing may follow those.
const TAKE_PATHS: &[&str] = &["del", "delpaths", "getpath", "path", "paths", "pick", "setpath", "to_entries"];

/// Whether paths in a term are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strict {
    Yes,
    No,
}

/// Writes a term as jq text that parses to the same, with a check behind each path.
pub(crate) fn write(term: &Term<&str>, strict: Strict) -> String {
    let mut out = String::new();
    write_term(term, strict, &mut out);
    out
}

/// The text of a path, for messages: `.properties.email`.
pub(crate) fn path_text(path: &[(Part<Term<&str>>, Opt)]) -> String {
    let mut out = String::new();
    for (part, _) in path {
        match part {
            Part::Index(Term::Str(None, parts)) => match parts.as_slice() {
                [StrPart::Str(name)] if is_identifier(name) => _ = write!(out, ".{name}"),
                [] => out.push_str("[\"\"]"),
                _ => out.push_str("[…]"),
            },
            Part::Index(Term::Num(number)) => _ = write!(out, "[{number}]"),
            Part::Index(_) => out.push_str("[…]"),
            Part::Range(None, None) => out.push_str("[]"),
            Part::Range(..) => out.push_str("[:]"),
        }
    }
    if out.starts_with('[') {
        out.insert(0, '.');
    }
    out
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn grouped(term: &Term<&str>, strict: Strict, out: &mut String) {
    out.push('(');
    write_term(term, strict, out);
    out.push(')');
}

fn write_term(term: &Term<&str>, strict: Strict, out: &mut String) {
    match term {
        Term::Id => out.push('.'),
        Term::Recurse => out.push_str(".."),
        Term::Num(text) | Term::Var(text) => out.push_str(text),
        Term::Str(format, parts) => write_string(*format, parts, strict, out),
        Term::Arr(None) => out.push_str("[]"),
        Term::Arr(Some(inner)) => {
            out.push('[');
            write_term(inner, strict, out);
            out.push(']');
        }
        Term::Obj(members) => write_object(members, strict, out),
        Term::Neg(inner) => {
            out.push('-');
            grouped(inner, strict, out);
        }
        Term::BinOp(left, op, right) => write_binary(left, op, right, strict, out),
        Term::Label(name, inner) => {
            let _ = write!(out, "label {name} | ");
            grouped(inner, strict, out);
        }
        Term::Break(name) => _ = write!(out, "break {name}"),
        Term::Fold(name, from, pattern, arguments) => {
            let _ = write!(out, "{name} ");
            grouped(from, strict, out);
            out.push_str(" as ");
            write_pattern(pattern, out);
            write_arguments(arguments, strict, out);
        }
        Term::TryCatch(inner, catch) => {
            out.push_str("try ");
            grouped(inner, strict, out);
            if let Some(catch) = catch {
                out.push_str(" catch ");
                grouped(catch, strict, out);
            }
        }
        Term::IfThenElse(cases, last) => {
            for (index, (condition, then)) in cases.iter().enumerate() {
                out.push_str(if index == 0 { "if " } else { " elif " });
                grouped(condition, strict, out);
                out.push_str(" then ");
                grouped(then, strict, out);
            }
            if let Some(last) = last {
                out.push_str(" else ");
                grouped(last, strict, out);
            }
            out.push_str(" end");
        }
        Term::Def(definitions, body) => {
            definitions.iter().for_each(|definition| write_definition(definition, strict, out));
            write_term(body, strict, out);
        }
        Term::Call(name, arguments) => {
            out.push_str(name);
            let strict = if TAKE_PATHS.contains(name) { Strict::No } else { strict };
            if !arguments.is_empty() {
                write_arguments(arguments, strict, out);
            }
        }
        Term::Path(start, path) => write_path(start, path, strict, out),
    }
}

fn write_arguments(arguments: &[Term<&str>], strict: Strict, out: &mut String) {
    out.push('(');
    for (index, argument) in arguments.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { "; " });
        write_term(argument, strict, out);
    }
    out.push(')');
}

fn write_definition(definition: &Def<&str>, strict: Strict, out: &mut String) {
    let Def { name, args, body } = definition;
    let arguments = if args.is_empty() { String::new() } else { format!("({})", args.join("; ")) };
    let _ = write!(out, "def {name}{arguments}: ");
    write_term(body, strict, out);
    out.push_str("; ");
}

fn write_string(format: Option<&str>, parts: &[StrPart<&str, Term<&str>>], strict: Strict, out: &mut String) {
    if let Some(format) = format {
        let _ = write!(out, "{format} ");
    }
    out.push('"');
    for part in parts {
        match part {
            StrPart::Str(text) => out.push_str(text),
            StrPart::Char(c @ ('"' | '\\')) => _ = write!(out, "\\{c}"),
            StrPart::Char(c) if *c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(*c)),
            StrPart::Char(c) => out.push(*c),
            StrPart::Term(term) => {
                out.push('\\');
                grouped(term, strict, out);
            }
        }
    }
    out.push('"');
}

fn write_object(members: &[(Term<&str>, Option<Term<&str>>)], strict: Strict, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in members.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        match (key, value) {
            (Term::Var(name), None) => out.push_str(name),
            // `{name}` is short for `{name: .name}`.
            (key, None) => {
                grouped(key, strict, out);
                let path = Path(vec![(Part::Index(key.clone()), Opt::Essential)]);
                out.push_str(": (");
                write_path(&Term::Id, &path, strict, out);
                out.push(')');
            }
            (key, Some(value)) => {
                grouped(key, strict, out);
                out.push_str(": ");
                grouped(value, strict, out);
            }
        }
    }
    out.push('}');
}

fn write_binary(left: &Term<&str>, op: &BinaryOp<&str>, right: &Term<&str>, strict: Strict, out: &mut String) {
    // What is assigned to is a path, and the left side of `//` may be missing.
    let left_strict = match op {
        BinaryOp::Alt | BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
            Strict::No
        }
        _ => strict,
    };
    grouped(left, left_strict, out);
    match op {
        BinaryOp::Pipe(None) => out.push_str(" | "),
        BinaryOp::Pipe(Some(pattern)) => {
            out.push_str(" as ");
            write_pattern(pattern, out);
            out.push_str(" | ");
        }
        BinaryOp::Comma => out.push_str(", "),
        BinaryOp::Alt => out.push_str(" // "),
        BinaryOp::Or => out.push_str(" or "),
        BinaryOp::And => out.push_str(" and "),
        BinaryOp::Math(math) => _ = write!(out, " {} ", math.as_str()),
        BinaryOp::Cmp(cmp) => _ = write!(out, " {} ", cmp.as_str()),
        BinaryOp::Assign => out.push_str(" = "),
        BinaryOp::Update => out.push_str(" |= "),
        BinaryOp::UpdateMath(math) => _ = write!(out, " {}= ", math.as_str()),
        BinaryOp::UpdateAlt => out.push_str(" //= "),
    }
    grouped(right, strict, out);
}

fn write_pattern(pattern: &Pattern<&str>, out: &mut String) {
    match pattern {
        Pattern::Var(name) => out.push_str(name),
        Pattern::Arr(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_pattern(item, out);
            }
            out.push(']');
        }
        Pattern::Obj(members) => {
            out.push('{');
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                grouped(key, Strict::No, out);
                out.push_str(": ");
                write_pattern(value, out);
            }
            out.push('}');
        }
    }
}

fn write_path(start: &Term<&str>, Path(parts): &Path<Term<&str>>, strict: Strict, out: &mut String) {
    let is_checked = strict == Strict::Yes && parts.iter().all(|(_, opt)| matches!(opt, Opt::Essential));
    if is_checked {
        out.push('(');
    }
    match start {
        Term::Id => out.push('.'),
        other => grouped(other, strict, out),
    }
    for (part, opt) in parts {
        out.push('[');
        match part {
            Part::Index(index) => write_term(index, strict, out),
            Part::Range(from, to) => {
                from.iter().for_each(|from| grouped(from, strict, out));
                if from.is_some() || to.is_some() {
                    out.push(':');
                }
                to.iter().for_each(|to| grouped(to, strict, out));
            }
        }
        out.push(']');
        if matches!(opt, Opt::Optional) {
            out.push('?');
        }
    }
    if is_checked {
        let name = serde_json::Value::from(path_text(parts));
        let _ = write!(out, " | {PRESENT}({name}))");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Compiled, JqError};
    use super::*;

    /// What an expression gives, also one that only a worker would run.
    fn run(text: &str, value: &serde_json::Value) -> Result<Vec<String>, JqError> {
        let mut results = Vec::new();
        Compiled::new(text)?.each(&value.to_string(), |result| {
            results.push(result);
            true
        })?;
        Ok(results)
    }

    fn rewritten(text: &str) -> String {
        let term = jaq_core::load::parse(text, |parser| parser.term()).unwrap();
        write(&term, Strict::Yes)
    }

    #[test]
    fn an_expression_gives_the_same_where_nothing_is_missing() {
        let value = json!({
            "a": { "b": [1, 2, { "c": "x" }], "d e": "q\"\\" }, "n": 2.50, "list": [3, 1, 2], "s": "a-b", "z": 0
        });
        for text in [
            ".",
            ".a.b[2].c",
            ".a[\"d e\"]",
            ".list[1:]",
            ".list[-1]",
            ".list | map(. * 2) | add",
            "[.list[] | select(. > 1)]",
            "{a: .s, (.s): .n, s}",
            "\"\\(.s): \\(.n + 1) \\u00e4\\n\"",
            "@base64 \"x\\(.s)\"",
            "if .n > 2 then .s elif .n == 1 then 1 else null end",
            "if .n > 9 then 1 end",
            ".x // .y // .s",
            ".x? // 1",
            "try error(\"x\") catch .",
            ".list as [$x, $y] | $x - $y",
            ". as {s: $t, $n} | [$t, $n]",
            "reduce .list[] as $x (0; . + $x)",
            "[foreach .list[] as $x (0; . + $x; [$x, .])]",
            "def f($x): . + $x; def g(h): h | h; .n | f(1) | g(f(2))",
            "[limit(2; .list[])]",
            "label $out | .list[] | if . == 1 then ., break $out else . end",
            ".list |= sort | .n += 1 | .q = 7 | .k //= 3 | keys",
            "del(.a) | pick(.s)",
            "-.n, -(.n)",
            "[.. | numbers]",
            ".s | split(\"-\") | join(\"+\")",
            "[.a.b[] | type]",
            "(.n, .z) as $v | $v / 2",
            "1 - 2 - 3, 2 * 3 + 4 % 3",
            ".n > 1 and .z == 0 or false",
            ".s | sub(\"(?<x>a)\"; \"<\\(.x)>\")",
        ] {
            assert_eq!(run(&rewritten(text), &value).unwrap(), run(text, &value).unwrap(), "{text}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_an_error() {
        let value = json!({ "a": { "b": null }, "list": [{ "x": 1 }, {}] });
        for (text, path) in [
            (".b", ".b"),
            (".a.b", ".a.b"),
            (".a.b.c", ".a.b.c"),
            (".list[0].y", ".list[0].y"),
            (".list[5]", ".list[5]"),
            ("[.list[].x]", ".list[].x"),
            ("\"\\(.a.c) x\"", ".a.c"),
            ("{b}", ".b"),
            ("{b: .a.b}", ".a.b"),
            (".list | map(.x)", ".x"),
            ("if .q then 1 else 2 end", ".q"),
            (".x // .y", ".y"),
            (".a | .b == 1", ".b"),
            ("def f: .zz; .a | f", ".zz"),
            (".[\"a b\"]", ".[…]"),
        ] {
            let error = run(&rewritten(text), &value).unwrap_err().to_string();
            assert!(error.ends_with(&format!("missing: {path}")), "{text}: {error}");
        }
        for text in
            [".b?", ".a.b?", ".b // 1", "(.b | .c) // 1", "try .b catch 1", ".b = 1", "del(.zz)", ".a | has(\"q\")"]
        {
            assert!(run(&rewritten(text), &value).is_ok(), "{text}");
        }
    }
}
