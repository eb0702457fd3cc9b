//! Encodes bodies: forms with brackets, multipart, MIME messages. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use serde_json::Value;
use url::form_urlencoded;

use super::input::Attachment;
use crate::clock::Timestamp;

/// A scalar as text; anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Writes a document as a form, what is nested with brackets.
pub fn form(document: &Value) -> Vec<u8> {
    form_of(document, &[])
}

/// Writes a document as a form. What is nested is written with brackets, as PHP, Rails and Stripe read it; an array of
/// `repeated` is written by repeating its name.
pub(super) fn form_of(document: &Value, repeated: &[String]) -> Vec<u8> {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in document.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) if repeated.contains(name) => {
                pairs.extend_pairs(items.iter().map(|item| (name, text(item))));
            }
            value => nested(&mut pairs, name, value),
        }
    }
    pairs.finish().into_bytes()
}

fn nested(pairs: &mut form_urlencoded::Serializer<'_, String>, name: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                nested(pairs, &format!("{name}[{member}]"), value);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                nested(pairs, &format!("{name}[{index}]"), value);
            }
        }
        // Vendors empty a value that is sent empty.
        Value::Null => _ = pairs.append_pair(name, ""),
        value => _ = pairs.append_pair(name, &text(value)),
    }
}

/// multipart/form-data (RFC 7578): the members of the document, then the files. Gives the content type and the body.
pub(super) fn multipart(document: &Value, files: &[(String, &Attachment)], boundary: &str) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    let quoted = |name: &str| name.replace('"', "%22").replace(['\r', '\n'], " ");
    for (name, value) in document.as_object().into_iter().flatten() {
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n", quoted(name));
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(text(value).as_bytes());
        body.extend_from_slice(b"\r\n");
    }
    for (name, file) in files {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            quoted(name),
            quoted(&file.name),
            file.content_type
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&file.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// multipart/related (RFC 2387): the document as JSON, then the file.
pub(super) fn related(document: &Value, file: &Attachment, boundary: &str) -> (String, Vec<u8>) {
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{document}\r\n\
         --{boundary}\r\nContent-Type: {}\r\n\r\n",
        file.content_type
    );
    let mut body = head.into_bytes();
    body.extend_from_slice(&file.bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/related; boundary={boundary}"), body)
}

/// One part of a MIME message.
pub(super) enum MessagePart<'a> {
    Text(&'a str, Vec<String>),
    Files(&'a [Attachment]),
}

/// A MIME message (RFC 5322) in base64url, as mail APIs take it. `id` is for its Message-ID.
pub(super) fn message(parts: Vec<MessagePart<'_>>, id: &str, now: Timestamp) -> String {
    let mut builder = MessageBuilder::new().message_id(format!("{id}@integ.invalid")).date(now.as_second());
    for part in parts {
        builder = match part {
            MessagePart::Files(files) => files.iter().fold(builder, |builder, file| {
                builder.attachment(file.content_type.clone(), file.name.clone(), file.bytes.clone())
            }),
            MessagePart::Text(name, texts) => {
                let one = || texts.join(", ");
                let ids = || -> Vec<String> {
                    one().split_whitespace().map(|id| id.trim_matches(['<', '>', ',']).to_owned()).collect()
                };
                match name {
                    "from" => builder.from(mailboxes(&texts)),
                    "to" => builder.to(mailboxes(&texts)),
                    "cc" => builder.cc(mailboxes(&texts)),
                    "bcc" => builder.bcc(mailboxes(&texts)),
                    "reply_to" => builder.reply_to(mailboxes(&texts)),
                    "subject" => builder.subject(one()),
                    "in_reply_to" => builder.in_reply_to(ids()),
                    "references" => builder.references(ids()),
                    "html" => builder.html_body(one()),
                    _ => builder.text_body(one()),
                }
            }
        };
    }
    URL_SAFE_NO_PAD.encode(builder.write_to_vec().unwrap_or_default())
}

/// A mailbox of `Name <address>`, or of an address alone (RFC 5322 section 3.4); absent without an address.
fn mailbox(text: &str) -> Option<Address<'static>> {
    let (name, address) = match text.trim().strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim().trim_matches('"'), address.trim()),
        None => ("", text.trim()),
    };
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    (!address.is_empty()).then(|| Address::new_address(name, address.to_owned()))
}

/// Several mailboxes, separated by commas outside of quotes.
fn mailboxes(texts: &[String]) -> Address<'static> {
    let mut found = Vec::new();
    for text in texts {
        let (mut quoted, mut start) = (false, 0);
        for (at, c) in text.char_indices() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => {
                    found.extend(mailbox(&text[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
        found.extend(mailbox(&text[start..]));
    }
    Address::new_list(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file() -> Attachment {
        Attachment { name: "a\"b.txt".to_owned(), content_type: "text/plain".to_owned(), bytes: b"hi".to_vec() }
    }

    #[test]
    fn forms_are_written_with_brackets() {
        let document = json!({"amount": 5, "metadata": {"order": "a b"}, "items": [{"price": "p"}], "off": null,
            "MediaUrl": ["u", "v"]});
        let written = String::from_utf8(form_of(&document, &["MediaUrl".to_owned()])).unwrap();
        let expected = "amount=5&metadata%5Border%5D=a+b&items%5B0%5D%5Bprice%5D=p&off=&MediaUrl=u&MediaUrl=v";
        assert_eq!(written, expected);
    }

    #[test]
    fn multipart_bodies_hold_parts_and_files() {
        let file = file();
        let (kind, body) = multipart(&json!({"type": "x"}), &[("file".to_owned(), &file)], "B");
        assert_eq!(kind, "multipart/form-data; boundary=B");
        let expected = "--B\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\nx\r\n\
            --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b.txt\"\r\n\
            Content-Type: text/plain\r\n\r\nhi\r\n--B--\r\n";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        let (kind, body) = related(&json!({"name": "n"}), &file, "B");
        assert_eq!(kind, "multipart/related; boundary=B");
        assert!(
            String::from_utf8(body)
                .unwrap()
                .contains("{\"name\":\"n\"}\r\n--B\r\nContent-Type: text/plain\r\n\r\nhi\r\n--B--")
        );
    }

    #[test]
    fn a_message_holds_its_parts_and_no_more_headers() {
        let files = [file()];
        let parts = vec![
            MessagePart::Text("to", vec!["\"Doe, Jane\" <jane@example.com>, bob@example.com".to_owned()]),
            MessagePart::Text("subject", vec!["Grüße\r\nBcc: evil@example.com".to_owned()]),
            MessagePart::Text("text", vec!["Hello".to_owned()]),
            MessagePart::Files(&files),
        ];
        let encoded = message(parts, "id", Timestamp::from_second(1_700_000_000).unwrap());
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap();
        assert!(text.contains("<jane@example.com>") && text.contains("<bob@example.com>"), "{text}");
        assert!(text.contains("Doe, Jane") && text.contains("Hello"), "{text}");
        let heads: Vec<&str> = text.split("\r\n\r\n").next().unwrap().lines().collect();
        assert!(!heads.iter().any(|line| line.to_lowercase().starts_with("bcc")), "{text}");
    }

    #[test]
    fn an_address_without_a_name_is_written_alone() {
        let texts = vec!["a@b.example, Ann <ann@b.example>".to_owned(), "\"Doe, J\" <j@b.example>".to_owned()];
        let parts = vec![
            MessagePart::Text("from", vec!["me@b.example".to_owned()]),
            MessagePart::Text("to", texts),
            MessagePart::Text("text", vec!["hi".to_owned()]),
        ];
        let written = URL_SAFE_NO_PAD.decode(message(parts, "1", Timestamp::UNIX_EPOCH)).unwrap();
        let written = String::from_utf8(written).unwrap().replace("\r\n\t", " ");
        assert!(written.contains("From: <me@b.example>\r\n"), "{written}");
        assert!(written.contains("To: <a@b.example>, \"Ann\" <ann@b.example>, \"Doe, J\" <j@b.example>"), "{written}");
    }
}
