//! Decodes the body of a request to text: content encoding and character set. Signatures and storage use the received
//! bytes.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use serde_json::{Map, Value};

use super::event::RequestParseError;
use crate::connector::WebhookDefinition;
use crate::json::{self, Json, JsonType};
use crate::signing::request::WebhookRequest;

/// Maximum size of a decompressed body from a known sender, in bytes.
pub(in crate::webhook) const MAX_DECODED_BYTES: usize = 64 * 1024 * 1024;

/// The same of a body that must be read before anything proves it.
pub(in crate::webhook) const MAX_UNVERIFIED_BYTES: usize = 1024 * 1024;

/// The content of a body.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::webhook) enum Content<'r> {
    Text(Cow<'r, str>),
    /// Neither text by its type nor by its bytes, or in a content encoding that is not known.
    Bytes(Cow<'r, [u8]>),
}

/// Decodes the body of a request.
///
/// # Errors
/// [`RequestParseError::TooLarge`] where it is larger than `most` bytes once it is decompressed.
pub(in crate::webhook) fn content(request: &WebhookRequest, most: usize) -> Result<Content<'_>, RequestParseError> {
    let Some(bytes) = decompressed(request, most)? else { return Ok(Content::Bytes(Cow::Borrowed(&request.body))) };
    let content_type = request.single_header("content-type").unwrap_or_default();
    let by_xml = declared_by_xml(&bytes);
    let charset = json::charset(content_type).or(by_xml.as_deref());
    Ok(match bytes {
        Cow::Borrowed(bytes) => decoded(bytes, charset, is_text(content_type)),
        Cow::Owned(bytes) => match decoded(&bytes, charset, is_text(content_type)) {
            Content::Text(text) => Content::Text(Cow::Owned(text.into_owned())),
            Content::Bytes(_) => Content::Bytes(Cow::Owned(bytes)),
        },
    })
}

/// The JSON of a body letter by letter, where the event is that and no part of it: numbers keep their digits, and texts the
/// escapes that no [`Value`] can hold.
pub(in crate::webhook) fn exact_json(rules: &WebhookDefinition, request: &WebhookRequest) -> Option<String> {
    if request.is_form() || rules.event.base64.is_some() || !rules.event.items.is_empty() {
        return None;
    }
    let Ok(Content::Text(text)) = content(request, MAX_DECODED_BYTES) else { return None };
    let json = Json::validate(&text).ok()?;
    (json.kind() != JsonType::String).then(|| json.as_str().to_owned())
}

/// The pairs of a form in their order. Names and values are in the form's character set, which few senders say: what is not
/// UTF-8 is read as browsers read it.
pub(in crate::webhook) fn form(text: &str, content_type: &str) -> Vec<(String, String)> {
    let charset = json::charset(content_type);
    let part = |text: &str| {
        let bytes = percent_decoded(text);
        match decoded(&bytes, charset, true) {
            Content::Text(text) => text.into_owned(),
            Content::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        }
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (part(name), part(value))
        })
        .collect()
}

/// A form as an object: a name that comes more than once has the list of its values.
pub(in crate::webhook) fn form_object(pairs: Vec<(String, String)>) -> Map<String, Value> {
    let mut form = Map::new();
    for (name, value) in pairs {
        let value = Value::String(value);
        match form.get_mut(&name) {
            None => _ = form.insert(name, value),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    form
}

/// `+` is a space, and what is not an escape stands for itself (URL standard, section "application/x-www-form-urlencoded").
fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (bytes, mut at) = (text.as_bytes(), 0);
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some(byte) = bytes.get(at) {
        let escaped = digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2))).filter(|_| *byte == b'%');
        match (escaped, *byte) {
            (Some((high, low)), _) => {
                decoded.push(high * 16 + low);
                at += 3;
                continue;
            }
            (None, b'+') => decoded.push(b' '),
            (None, byte) => decoded.push(byte),
        }
        at += 1;
    }
    decoded
}

/// The body without its content encodings (RFC 9110 section 8.4); absent where one is not known, or the body is not in it.
fn decompressed(request: &WebhookRequest, most: usize) -> Result<Option<Cow<'_, [u8]>>, RequestParseError> {
    let named = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
    let codings: Vec<String> =
        named.flat_map(|(_, value)| value.split(',')).map(|coding| coding.trim().to_ascii_lowercase()).collect();
    let mut body = Cow::Borrowed(request.body.as_slice());
    // The last one was applied last.
    for coding in codings.iter().rev() {
        let read = match coding.as_str() {
            "" | "identity" => continue,
            // A proxy that decompresses may leave the header.
            "gzip" | "x-gzip" if !body.starts_with(&[0x1f, 0x8b]) => continue,
            "gzip" | "x-gzip" => bounded(MultiGzDecoder::new(&*body), most)?,
            // Some mean the zlib format, as the standard says, and some the bare one.
            "deflate" => match bounded(ZlibDecoder::new(&*body), most)? {
                None => bounded(DeflateDecoder::new(&*body), most)?,
                zlib => zlib,
            },
            _ => None,
        };
        let Some(read) = read else { return Ok(None) };
        body = Cow::Owned(read);
    }
    Ok(Some(body))
}

/// All that a decoder gives; absent where its input is damaged.
fn bounded(decoder: impl Read, most: usize) -> Result<Option<Vec<u8>>, RequestParseError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    if decoder.take(limit).read_to_end(&mut bytes).is_err() {
        return Ok(None);
    }
    if bytes.len() > most { Err(RequestParseError::TooLarge) } else { Ok(Some(bytes)) }
}

/// The character set that an XML document declares.
fn declared_by_xml(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(bytes.get(..bytes.len().min(200))?);
    let declaration = head.trim_start().strip_prefix("<?xml")?.split_once("?>")?.0;
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    Some(value.split(['"', '\'']).nth(1)?.to_owned())
}

/// Whether a content type is of text; without one a body may be.
fn is_text(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let words = ["json", "xml", "x-www-form-urlencoded", "javascript", "yaml", "csv"];
    kind.starts_with("text/") || words.iter().any(|word| kind.ends_with(word))
}

/// Bytes as text, as [`json::decode`] reads them. What is not said to be text and is not UTF-8 is none.
fn decoded<'b>(bytes: &'b [u8], charset: Option<&str>, is_text: bool) -> Content<'b> {
    if !is_text && charset.is_none() {
        return std::str::from_utf8(bytes)
            .map_or(Content::Bytes(Cow::Borrowed(bytes)), |text| Content::Text(Cow::Borrowed(text)));
    }
    json::decode(bytes, charset).map_or(Content::Bytes(Cow::Borrowed(bytes)), Content::Text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> WebhookRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        WebhookRequest { method: "POST".to_owned(), url: String::new(), headers, body: body.to_vec() }
    }

    fn text(content_type: &str, body: &[u8]) -> String {
        match content(&request(&[("Content-Type", content_type)], body), 1000).unwrap() {
            Content::Text(text) => text.into_owned(),
            Content::Bytes(bytes) => panic!("{bytes:?}"),
        }
    }

    #[test]
    fn a_body_is_read_in_the_character_set_that_it_is_in() {
        assert_eq!(text("application/json; charset=ISO-8859-1", b"Jos\xe9"), "José");
        assert_eq!(text("application/json; charset=\"iso-8859-1\"", "José".as_bytes()), "José", "declared wrongly");
        assert_eq!(text("text/plain; charset=Shift_JIS", b"\x93\xfa\x96{"), "日本");
        assert_eq!(text("text/plain; charset=iso-2022-jp", b"\x1b$BF|K\\\x1b(B"), "日本");
        assert_eq!(text("application/json", b"Jos\xe9"), "José", "nothing is declared, and it is not UTF-8");
        assert_eq!(text("application/json", b"Jos\xc3\xa9 \xe9"), "José é", "one byte is wrong");
        assert_eq!(text("application/json", b"\xef\xbb\xbf{}"), "{}");
        assert_eq!(text("application/json", b"\xff\xfe{\0}\0"), "{}");
        assert_eq!(text("application/json", b"{\0\"\0a\0\"\0"), "{\"a\"");
        assert!(text("text/xml", b"<?xml version='1.0' encoding='ISO-8859-15'?><p>\xa4</p>").ends_with("<p>€</p>"));
        let binary = [0xff, 0, 0x80];
        let unknown = request(&[("Content-Type", "application/octet-stream")], &binary);
        assert_eq!(content(&unknown, 1000), Ok(Content::Bytes(Cow::Borrowed(&binary))));
    }

    #[test]
    fn a_compressed_body_is_read_as_far_as_its_limit() {
        let plain = "José ".repeat(100);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(plain.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(plain.as_bytes()).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(plain.as_bytes()).unwrap();
        let bodies = [("gzip", gzip.clone()), ("deflate", zlib.finish().unwrap()), ("Deflate", bare.finish().unwrap())];
        for (coding, body) in bodies {
            let request = request(&[("Content-Encoding", coding)], &body);
            assert_eq!(content(&request, 600), Ok(Content::Text(Cow::Owned(plain.clone()))), "{coding}");
            assert_eq!(content(&request, 599), Err(RequestParseError::TooLarge), "{coding}");
        }
        let sent = request(&[("Content-Encoding", "gzip")], plain.as_bytes());
        assert_eq!(
            content(&sent, 600),
            Ok(Content::Text(Cow::Borrowed(plain.as_str()))),
            "a proxy has decompressed it"
        );
        for (coding, body) in [("br", &b"\x0b\x02\x80"[..]), ("gzip", &gzip[..20])] {
            let request = request(&[("Content-Encoding", coding)], body);
            assert_eq!(content(&request, 600), Ok(Content::Bytes(Cow::Borrowed(body))), "{coding}");
        }
    }

    #[test]
    fn a_form_keeps_every_value() {
        let pairs = form("a=1&b=x+y&a=2&c%5B%5D=%C3%A9&&d&e=%E9&f=%zz%4", "application/x-www-form-urlencoded");
        let form = Value::Object(form_object(pairs));
        let expected = serde_json::json!({
            "a": ["1", "2"], "b": "x y", "c[]": "é", "d": "", "e": "é", "f": "%zz%4",
        });
        assert_eq!(form, expected);
    }
}
