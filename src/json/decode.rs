//! Decodes the bytes of a body to text.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::JsonError;

/// Makes text of bytes that are meant to be JSON. What decides, in this order:
///
/// 1. A byte-order mark (UTF-8, UTF-16, UTF-32), which is left out (RFC 8259 section 8.1).
/// 2. Zero bytes where UTF-16 and UTF-32 have them, for JSON begins with ASCII (RFC 4627 section 3).
/// 3. Valid UTF-8, whatever charset is declared: frameworks declare ISO-8859-1 by default and write UTF-8. A charset that
///    is not a superset of ASCII is believed.
/// 4. The declared charset, by the labels of the WHATWG Encoding Standard.
/// 5. Else it is UTF-8 with wrong bytes. Each of those is read as windows-1252, which has a character for every byte, so
///    that texts that differ stay different.
///
/// # Errors
/// [`JsonError::UnknownCharset`] for an unknown charset and bytes that are not UTF-8.
pub fn decode<'b>(bytes: &'b [u8], charset: Option<&str>) -> Result<Cow<'b, str>, JsonError> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => return Ok(utf8_with_wrong_bytes(rest)),
        [0xff, 0xfe, 0, 0, rest @ ..] => return Ok(utf_32(rest, u32::from_le_bytes)),
        [0, 0, 0xfe, 0xff, rest @ ..] => return Ok(utf_32(rest, u32::from_be_bytes)),
        [0xff, 0xfe, rest @ ..] => return Ok(UTF_16LE.decode_without_bom_handling(rest).0),
        [0xfe, 0xff, rest @ ..] => return Ok(UTF_16BE.decode_without_bom_handling(rest).0),
        [0, 0, 0, _, ..] => return Ok(utf_32(bytes, u32::from_be_bytes)),
        [_, 0, 0, 0, ..] => return Ok(utf_32(bytes, u32::from_le_bytes)),
        [0, _, ..] => return Ok(UTF_16BE.decode_without_bom_handling(bytes).0),
        [_, 0, ..] => return Ok(UTF_16LE.decode_without_bom_handling(bytes).0),
        _ => {}
    }
    let encoding = charset.map(|label| (label, Encoding::for_label(label.as_bytes())));
    let declared = encoding.and_then(|(_, encoding)| encoding).filter(|encoding| *encoding != UTF_8);
    if declared.is_none_or(Encoding::is_ascii_compatible)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(text) =
        declared.and_then(|encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes))
    {
        return Ok(text);
    }
    match encoding {
        Some((label, None)) => Err(JsonError::UnknownCharset { charset: label.to_owned() }),
        _ => Ok(utf8_with_wrong_bytes(bytes)),
    }
}

fn utf8_with_wrong_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.push_str(&WINDOWS_1252.decode_without_bom_handling(chunk.invalid()).0);
    }
    Cow::Owned(text)
}

fn utf_32(bytes: &[u8], word: fn([u8; 4]) -> u32) -> Cow<'_, str> {
    let words = bytes.chunks(4).map(|chunk| <[u8; 4]>::try_from(chunk).ok().map(word));
    Cow::Owned(words.map(|word| word.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}
