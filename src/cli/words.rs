//! Parses arguments such as `channel=C1`, `labels:=["bug"]` and `body=@report.txt` into typed parameters of an action.
//! Only here can a value name a file.

use serde_json::{Map, Value};

use crate::api::{Attachment, Input, Parameters, parse_scalar};
use crate::connector::{ActionParam, ParamKind};

type ReadFile<'a> = &'a dyn Fn(&str) -> std::io::Result<Vec<u8>>;

/// Words that were read, with everything that is wrong with them.
pub(super) struct ParsedWords {
    pub input: Input,
    pub problems: Vec<String>,
    /// Parameters with an invalid word.
    pub ignored: Vec<String>,
}

impl ParsedWords {
    /// Reads `name=value`, `name.member=value` for objects, `name:=json` for any JSON, `name=@path` for a file's content
    /// (`@@` for a text that begins with `@`), and `name=-` where the parameter takes a file. A name may also be written as
    /// the API writes it; an array is given by repeating it or as JSON.
    pub(super) fn read(parameters: Parameters<'_>, words: &[String]) -> Self {
        Self::read_with(parameters, words, &super::input_file::read_input_file)
    }

    fn read_with(parameters: Parameters<'_>, words: &[String], read_file: ReadFile<'_>) -> Self {
        let reader = WordParser { parameters, read_file };
        let mut read = Self { input: Input::default(), problems: Vec::new(), ignored: Vec::new() };
        for word in words {
            if let Err(problem) = reader.word(word, &mut read.input) {
                read.problems.push(problem);
                let name = word.split(['=', ':', '.']).next().unwrap_or_default();
                read.ignored.extend(parameters.find(name).ok().map(|(name, _)| name.to_owned()));
            }
        }
        read
    }

    /// The input of a call that takes all of it from these words.
    ///
    /// # Errors
    /// Every problem there is, one sentence each: what is misspelt, missing, not of its type.
    pub(super) fn complete(mut self, parameters: Parameters<'_>) -> Result<Input, Vec<String>> {
        parameters.complete(&mut self.input, &self.ignored, &mut self.problems);
        if self.problems.is_empty() { Ok(self.input) } else { Err(self.problems) }
    }
}

struct WordParser<'a> {
    parameters: Parameters<'a>,
    read_file: ReadFile<'a>,
}

impl WordParser<'_> {
    fn word(&self, word: &str, input: &mut Input) -> Result<(), String> {
        let (left, text) = word.split_once('=').ok_or_else(|| format!("{word:?} is not NAME=VALUE"))?;
        let (left, json) = match left.strip_suffix(':') {
            Some(left) => (left, true),
            None => (left, false),
        };
        let (name, member) = match left.split_once('.') {
            Some((name, member)) => (name, Some(member)),
            None => (left, None),
        };
        let (name, param) = self.parameters.find(name)?;
        if matches!(param.kind, ParamKind::File | ParamKind::Files) {
            let path = text.strip_prefix('@').unwrap_or(text);
            let bytes = self.file(name, path)?;
            input.files.entry(name.to_owned()).or_default().push(attachment(path, bytes));
            return Ok(());
        }
        let text = match text.strip_prefix('@') {
            Some(rest) if rest.starts_with('@') => rest.to_owned(),
            Some(path) => {
                let bytes = self.file(name, path)?;
                String::from_utf8(bytes).map_err(|_| format!("{name} is read from {path}, which is not UTF-8 text"))?
            }
            None => text.to_owned(),
        };
        let value = if json {
            serde_json::from_str(&text).map_err(|error| format!("{name} is not JSON: {error}"))?
        } else if member.is_some() {
            Value::String(text)
        } else {
            plain(name, param, text)?
        };
        let place = input.values.entry(name.to_owned());
        match (member, param.kind) {
            (Some(member), ParamKind::Object) => {
                let object = place.or_insert_with(|| Value::Object(Map::new()));
                put_member(object, member, value);
            }
            (Some(_), _) => return Err(format!("{name} is not an object: it has no members")),
            (None, ParamKind::Array) if !json || !value.is_array() => {
                let list = place.or_insert_with(|| Value::Array(Vec::new()));
                match (list, value) {
                    (Value::Array(items), Value::Array(more)) => items.extend(more),
                    (Value::Array(items), one) => items.push(one),
                    _ => {}
                }
            }
            (None, _) => {
                if place.insert_entry(value).get().is_null() && param.required {
                    return Err(format!("{name} is required and cannot be null"));
                }
            }
        }
        Ok(())
    }

    fn file(&self, name: &str, path: &str) -> Result<Vec<u8>, String> {
        let more = if name.is_empty() { "" } else { " (write @@ for a text that begins with @)" };
        (self.read_file)(path).map_err(|error| format!("{name}: {path:?} cannot be read: {error}{more}"))
    }
}

fn attachment(path: &str, bytes: Vec<u8>) -> Attachment {
    let name = std::path::Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let content_type = mime_guess::from_path(name).first_or_octet_stream().to_string();
    Attachment::new(name, &content_type, bytes)
}

/// A value as the user typed it, without being JSON by intention.
fn plain(name: &str, param: &ActionParam, text: String) -> Result<Value, String> {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    match param.kind {
        ParamKind::Integer | ParamKind::Number | ParamKind::Boolean => parse_scalar(name, param.kind, &text),
        ParamKind::Array if text.trim_start().starts_with('[') => {
            json(&text).filter(Value::is_array).ok_or_else(|| format!("{name} is not a JSON array"))
        }
        ParamKind::Object if text.trim_start().starts_with('{') => {
            json(&text).filter(Value::is_object).ok_or_else(|| format!("{name} is not a JSON object"))
        }
        ParamKind::Object if param.wrap.is_none() => {
            Err(format!("{name} takes a JSON object, or its members one by one: {name}.MEMBER=VALUE"))
        }
        // An item of a list of objects is an object, if it looks like one.
        ParamKind::Array if text.trim_start().starts_with('{') => Ok(json(&text).unwrap_or(Value::String(text))),
        _ => Ok(Value::String(text)),
    }
}

fn put_member(object: &mut Value, path: &str, value: Value) {
    let (first, rest) = match path.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(members) = object else { return };
    match rest {
        Some(rest) => put_member(members.entry(first.to_owned()).or_insert(Value::Null), rest, value),
        None => {
            members.insert(first.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::connector::{Action, NameCase};

    fn action() -> Action {
        let text = r#"
            about = "x"
            path = "/x/{id}"
            one_of = [["text", "blocks"]]
            [params]
            id = { about = "Which one", required = true }
            text = { about = "Text" }
            blocks = { about = "Blocks", type = "array" }
            amount = { about = "Amount", type = "integer" }
            rate = { about = "Rate", type = "number" }
            silent = { about = "Silent", type = "boolean" }
            fields = { about = "Fields", type = "object" }
            document = { about = "Document", type = "object", wrap = { doc = "{value}" } }
            thread_id = { about = "Thread" }
            sort = { about = "Order", choices = ["asc", "desc"], default = "asc" }
            photo = { about = "Photo", type = "file" }
        "#;
        Action::deserialize(toml::Deserializer::parse(text).unwrap()).unwrap()
    }

    fn read(words: &[&str]) -> Result<Input, Vec<String>> {
        let read_file = |path: &str| match path {
            "dir/a.png" => Ok(b"PNG".to_vec()),
            "note.txt" => Ok(b"from a file".to_vec()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        };
        let action = action();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let parameters = Parameters { action: &action, names: NameCase::Camel };
        ParsedWords::read_with(parameters, &words, &read_file).complete(parameters)
    }

    #[test]
    fn words_become_values_of_the_declared_types() {
        let input = read(&[
            "id=7",
            "text=@note.txt",
            "amount=-3",
            "rate=0.25",
            "silent=yes",
            "fields.a=1",
            "fields.b.c:=[true]",
            "threadId=@@here",
            "blocks=x",
            "blocks=y=z",
            "photo=dir/a.png",
        ])
        .unwrap();
        let expected = json!({
            "id": "7", "text": "from a file", "amount": -3, "rate": 0.25, "silent": true,
            "fields": {"a": "1", "b": {"c": [true]}}, "thread_id": "@here", "blocks": ["x", "y=z"], "sort": "asc",
        });
        assert_eq!(json!(input.values), expected);
        let photo =
            Attachment { name: "a.png".to_owned(), content_type: "image/png".to_owned(), bytes: b"PNG".to_vec() };
        assert_eq!(input.files["photo"], [photo]);
    }

    #[test]
    fn arrays_and_objects_come_as_json_too() {
        let input = read(&["id=1", r#"blocks=[{"a":1}]"#, r#"fields={"a":{}}"#, "document=hello"]).unwrap();
        assert_eq!(input.values["blocks"], json!([{"a": 1}]));
        assert_eq!(input.values["fields"], json!({"a": {}}));
        assert_eq!(input.values["document"], json!("hello"));
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let problems = read(&["txt=x", "amount=many", "silent=perhaps", "sort=up", "fields=x", "odd", "photo=no.png"]);
        assert_eq!(
            problems.unwrap_err(),
            [
                "unknown parameter txt, did you mean text?",
                "amount takes a whole number, not \"many\"",
                "silent takes true or false, not \"perhaps\"",
                "fields takes a JSON object, or its members one by one: fields.MEMBER=VALUE",
                "\"odd\" is not NAME=VALUE",
                "photo: \"no.png\" cannot be read: entity not found (write @@ for a text that begins with @)",
                "id is missing (Which one)",
                "sort is one of asc, desc, not \"up\"",
                "one of text, blocks is missing",
            ]
        );
    }
}
