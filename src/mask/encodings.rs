//! The encodings in which programs may print a secret.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Columns after which base64 is broken into lines: by coreutils and MIME, and by PEM.
const BASE64_COLUMNS: [usize; 2] = [76, 64];

/// Characters of the shortest last line of base64 that is looked for by itself.
const SHORTEST_LINE: usize = 8;

/// Characters that stay as they are in a URL by any encoder (RFC 3986 section 2.3).
const UNRESERVED: &str = "-._~";

/// Characters that JavaScript's `encodeURIComponent` leaves beside them.
const URI_COMPONENT: &str = "-._~!'()*";

/// Characters that HTML forms leave (WHATWG URL, `application/x-www-form-urlencoded`).
const FORM: &str = "-._*";

/// Characters that PHP's `urlencode` leaves.
const PHP: &str = "-._";

/// Returns the forms of a secret that are hidden:
///
/// - the text itself;
/// - base64 with either alphabet, at each of the three places in which a group of three bytes may begin before it, as in
///   `base64("user:" + secret)`; and its lines, where the secret begins the encoded text;
/// - hexadecimal digits, lower and upper case;
/// - URL-encoded, as RFC 3986, `encodeURIComponent`, HTML forms, Python and PHP do, with digits of either case;
/// - HTML, with the names and numbers that libraries use for `&`, `<`, `>` and quotes, and for `/`;
/// - JSON strings: escaped as little as allowed, with `\/`, with `<`, `>` and `&` as Go has them, and with all that is not
///   ASCII as `\u`.
pub(super) fn encodings(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec()];
    for encode in [|bytes: &[u8]| STANDARD_NO_PAD.encode(bytes), |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes)] {
        forms.extend((0..3).map(|offset| base64_inside(secret, offset, encode)));
        forms.extend(base64_lines(&base64_inside(secret, 0, encode)));
    }
    let hex = crate::hex::encode(secret.as_bytes());
    forms.push(hex.to_uppercase().into_bytes());
    forms.push(hex.into_bytes());
    for (plain, space) in [(UNRESERVED, "%20"), (URI_COMPONENT, "%20"), (UNRESERVED, "+"), (FORM, "+"), (PHP, "+")] {
        for upper in [true, false] {
            forms.push(url_encoded(secret, plain, space, upper).into_bytes());
        }
    }
    for references in HTML_REFERENCES {
        forms.push(html_escaped(secret, references).into_bytes());
    }
    for escapes in JSON_ESCAPES {
        for upper in [true, false] {
            forms.push(json_escaped(secret, escapes, upper).into_bytes());
        }
    }
    forms
}

/// The characters of a base64 text that follow from the secret alone, where `offset` bytes stand before it in its first
/// group of three: what precedes and follows it changes the characters that are cut off.
fn base64_inside(secret: &str, offset: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(secret.as_bytes());
    let encoded = encode(&bytes);
    // A character has 6 bits, a byte 8.
    let (first, end) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
    encoded.as_bytes()[first..end].to_vec()
}

/// The lines of a base64 text that begins with the secret.
fn base64_lines(encoded: &[u8]) -> Vec<Vec<u8>> {
    let broken = BASE64_COLUMNS.into_iter().filter(|columns| encoded.len() > *columns);
    broken
        .flat_map(|columns| encoded.chunks(columns))
        .filter(|line| line.len() >= SHORTEST_LINE)
        .map(<[u8]>::to_vec)
        .collect()
}

fn url_encoded(secret: &str, plain: &str, space: &str, upper: bool) -> String {
    let mut encoded = String::new();
    for byte in secret.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || plain.contains(c) {
            encoded.push(c);
        } else if c == ' ' {
            encoded.push_str(space);
        } else if upper {
            encoded.push_str(&format!("%{byte:02X}"));
        } else {
            encoded.push_str(&format!("%{byte:02x}"));
        }
    }
    encoded
}

/// What libraries write for quotes and a slash: Go, Python, PHP and browsers, OWASP's rules, XML.
const HTML_REFERENCES: [[&str; 3]; 5] = [
    ["&#34;", "&#39;", "/"],
    ["&quot;", "&#x27;", "/"],
    ["&quot;", "&#039;", "/"],
    ["&quot;", "&#x27;", "&#x2F;"],
    ["&quot;", "&apos;", "/"],
];

fn html_escaped(secret: &str, [quote, apostrophe, slash]: [&str; 3]) -> String {
    let mut escaped = String::new();
    for c in secret.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str(quote),
            '\'' => escaped.push_str(apostrophe),
            '/' => escaped.push_str(slash),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What a writer of JSON escapes beside what it must.
#[derive(Clone, Copy)]
struct JsonEscapes {
    slash: bool,
    html: bool,
    non_ascii: bool,
}

const JSON_ESCAPES: [JsonEscapes; 5] = [
    JsonEscapes { slash: false, html: false, non_ascii: false },
    JsonEscapes { slash: true, html: false, non_ascii: false },
    JsonEscapes { slash: false, html: true, non_ascii: false },
    JsonEscapes { slash: false, html: false, non_ascii: true },
    JsonEscapes { slash: true, html: false, non_ascii: true },
];

fn json_escaped(secret: &str, escapes: JsonEscapes, upper: bool) -> String {
    let mut escaped = String::new();
    let unit = |escaped: &mut String, unit: u16| {
        escaped.push_str(&if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
    };
    for c in secret.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '/' if escapes.slash => escaped.push_str("\\/"),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c if c.is_ascii_control()
                || (escapes.html && matches!(c, '<' | '>' | '&'))
                || (escapes.non_ascii && !c.is_ascii()) =>
            {
                for code in c.encode_utf16(&mut [0; 2]) {
                    unit(&mut escaped, *code);
                }
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn is_covered(secret: &str, text: &str) -> bool {
        encodings(secret).iter().any(|form| text.as_bytes().windows(form.len()).any(|part| part == form.as_slice()))
    }

    #[test]
    fn base64_is_found_wherever_the_secret_begins() {
        let secret = "s3cret/to+ken?";
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{secret}{after}");
                assert!(is_covered(secret, &STANDARD.encode(&text)), "{text}");
                assert!(is_covered(secret, &URL_SAFE.encode(&text)), "{text}");
            }
        }
        // No character of it depends on what surrounds the secret.
        assert!(!is_covered(secret, &STANDARD.encode("s3cret/to+kem?")));
    }

    #[test]
    fn a_long_secret_is_found_in_the_lines_of_base64() {
        let secret: String = (0..150).map(|number| char::from(b'a' + number % 26)).collect();
        let encoded = STANDARD.encode(&secret);
        for columns in BASE64_COLUMNS {
            for line in encoded.as_bytes().chunks(columns) {
                let line = std::str::from_utf8(line).unwrap();
                assert!(is_covered(&secret, line) || line.len() < SHORTEST_LINE + 4, "{line}");
            }
        }
    }

    #[test]
    fn texts_are_found_as_urls_json_and_hex_write_them() {
        let secret = "p\u{e4}ss/w\"o\\rd +<&>!";
        for text in [
            "p%C3%A4ss%2Fw%22o%5Crd%20%2B%3C%26%3E%21",
            "p%c3%a4ss%2fw%22o%5crd%20%2b%3c%26%3e%21",
            "p%C3%A4ss%2Fw%22o%5Crd%20%2B%3C%26%3E!",
            "p%C3%A4ss%2Fw%22o%5Crd+%2B%3C%26%3E%21",
            r#"p\u00e4ss/w\"o\\rd +<&>!"#,
            r#"p\u00E4ss\/w\"o\\rd +<&>!"#,
            "p\u{e4}ss/w\\\"o\\\\rd +<&>!",
            "p\u{e4}ss/w\\\"o\\\\rd +\\u003c\\u0026\\u003e!",
            "70c3a473732f77226f5c7264202b3c263e21",
            "p\u{e4}ss/w&#34;o\\rd +&lt;&amp;&gt;!",
            "p\u{e4}ss&#x2F;w&quot;o\\rd +&lt;&amp;&gt;!",
            "70C3A473732F77226F5C7264202B3C263E21",
        ] {
            assert!(is_covered(secret, text), "{text}");
        }
        let emoji = "key-\u{1f511}-end";
        assert!(is_covered(emoji, r"key-\ud83d\udd11-end"));
    }
}
