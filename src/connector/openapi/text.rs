//! Converts texts and names of a description for connector files. Pure.

/// The first sentence of a text of Markdown or HTML, without its markup, of so many characters at most.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut plain = String::new();
    let mut in_tag = false;
    for c in text.trim().chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            _ if in_tag => {}
            '`' | '*' => {}
            c if c.is_control() && c != '\n' => plain.push(' '),
            c => plain.push(c),
        }
    }
    let first = plain.lines().map(|line| line.trim().trim_start_matches('#').trim()).find(|line| !line.is_empty());
    let line = links_as_words(first.unwrap_or_default());
    let end = line.find(". ").map_or(line.len(), |at| at + 1);
    let sentence = line[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    if sentence.chars().count() <= most {
        return sentence;
    }
    let cut: String = sentence.chars().take(most).collect();
    let whole_words = cut.rsplit_once(' ').map_or(cut.as_str(), |(before, _)| before);
    format!("{}…", whole_words.trim_end_matches([',', ';', ':', '.', '(']))
}

/// `[words](url)` as the words.
fn links_as_words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after.split_once("](").and_then(|(words, tail)| Some((words, tail.split_once(')')?.1))) {
            Some((words, tail)) => {
                out.push_str(words);
                rest = tail;
            }
            None => {
                out.push('[');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

pub(super) fn no_full_stop(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}

/// A name in snake_case: `petId`, `Pet-ID` and `pet[id]` are `pet_id`.
pub(super) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            out.push('_');
            continue;
        }
        let before = index.checked_sub(1).map(|index| chars[index]);
        let after = chars.get(index + 1);
        let starts = c.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || (before.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if starts {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    let parts: Vec<&str> = out.split('_').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "value".to_owned() } else { parts.join("_") }
}

/// A name in kebab-case, for ids and authentication methods; empty for what has no letter or digit.
pub(super) fn slug(name: &str) -> String {
    let spaced: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if spaced.chars().all(|c| c == '_') {
        return String::new();
    }
    let words = snake(&spaced).replace('_', "-");
    words.chars().take(40).collect::<String>().trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_style_are_written_in_one() {
        for (name, expected) in [
            ("petId", "pet_id"),
            ("Pet-ID", "pet_id"),
            ("HTTPServer", "http_server"),
            ("X-Request-Id", "x_request_id"),
            ("filter[name]", "filter_name"),
            ("snake_case", "snake_case"),
            ("$top", "top"),
            ("名", "value"),
        ] {
            assert_eq!(snake(name), expected);
        }
        assert_eq!(slug("Acme Boards & Cards"), "acme-boards-cards");
        assert_eq!(slug("GitHub"), "git-hub");
    }

    #[test]
    fn a_text_is_cut_to_its_first_sentence_without_markup() {
        assert_eq!(one_line("<p>Creates a <b>charge</b>. Then more.</p>", 80), "Creates a charge.");
        assert_eq!(one_line("# Title\n\nSee [the docs](https://x.example) for `it`", 80), "Title");
        assert_eq!(one_line("See [the docs](https://x.example) for `it`\u{1b}[31m", 80), "See the docs for it [31m");
        assert_eq!(one_line("one two three four", 10), "one two…");
    }
}
