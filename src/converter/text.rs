//! Regular expressions over texts, and texts as JSON.

use regex_bites::Regex;

/// What a replacement may make of a text, in bytes.
const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        return format!("\"{text}\"");
    }
    serde_json::Value::from(text).to_string()
}

/// What a regular expression matches first: its first group, or all of it if it has none.
pub(super) fn extract(regex: &Regex, text: &str) -> Result<String, String> {
    let missing = || format!("{:?} does not match {:?}", regex.as_str(), cut(text));
    let captures = regex.captures(text).ok_or_else(missing)?;
    let group = if regex.captures_len() > 1 { 1 } else { 0 };
    Ok(quoted(captures.get(group).ok_or_else(missing)?.as_str()))
}

/// The text with each match replaced; `$1` and `${name}` in `with` are groups, `$$` a dollar.
pub(super) fn replace(regex: &Regex, with: &str, text: &str) -> Result<String, String> {
    let (mut out, mut end) = (String::with_capacity(text.len()), 0);
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        captures.expand(with, &mut out);
        end = whole.end();
        if out.len() > MAX_OUTPUT_BYTES {
            return Err(format!("the replaced text is larger than {} MiB", MAX_OUTPUT_BYTES >> 20));
        }
    }
    out.push_str(&text[end..]);
    Ok(quoted(&out))
}

/// A text in an error.
fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}
