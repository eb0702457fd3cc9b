//! The parameters of a call: typed values, validated against the action's declaration before anything is sent.
//!
//! Pure. Values come from the command line, from a connector's file or from a vendor's answer, and nothing here opens a
//! file: only [`crate::cli`] reads `name=@path`, because only there a person wrote it.

use indexmap::IndexMap;
use serde_json::Value;

use crate::connector::{Action, ActionParam, NameCase, ParamKind};
use crate::near::did_you_mean;

/// A file that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, without folders.
    pub name: String,
    pub content_type: String,
    pub bytes: Vec<u8>,
}

impl Attachment {
    /// Creates an attachment. What reaches a header or the head of a part must not end it.
    pub fn new(name: &str, content_type: &str, bytes: Vec<u8>) -> Self {
        let name = name.chars().map(|c| if c.is_control() || c == '"' { '_' } else { c }).collect();
        let is_plain =
            content_type.contains('/') && content_type.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        let content_type = if is_plain { content_type } else { "application/octet-stream" };
        Self { name, content_type: content_type.to_owned(), bytes }
    }
}

/// The parameters of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    pub values: IndexMap<String, Value>,
    /// Their contents: what names a file is read by the caller.
    pub files: IndexMap<String, Vec<Attachment>>,
}

impl Input {
    /// Whether a value or a file is given for a parameter.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.files.contains_key(name)
    }

    /// The names of the parameters that something is given for.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.values.keys().chain(self.files.keys())
    }
}

impl FromIterator<(String, Value)> for Input {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(values: I) -> Self {
        Self { values: values.into_iter().collect(), files: IndexMap::new() }
    }
}

/// The declared parameters of an action.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    pub action: &'a Action,
    pub names: NameCase,
}

impl<'a> Parameters<'a> {
    /// Returns the parameter of this name, which may also be written as the API writes it.
    ///
    /// # Errors
    /// A sentence that suggests the likely one.
    pub fn find(&self, name: &str) -> Result<(&'a str, &'a ActionParam), String> {
        let params = &self.action.params;
        let own = params.get_key_value(name);
        let found = own.or_else(|| {
            params.iter().find(|(known, param)| {
                let to = param.to.as_ref().map(ToString::to_string);
                to.as_deref().and_then(|to| to.strip_prefix('/')) == Some(name) || self.names.apply(known) == name
            })
        });
        found
            .map(|(name, param)| (name.as_str(), param))
            .ok_or_else(|| format!("unknown parameter {name}{}", did_you_mean(name, params.keys().map(String::as_str))))
    }

    /// Returns the input with each value in its declared type and the defaults filled in.
    ///
    /// A text becomes the number or boolean that its parameter takes, and one value for an array a list of one. Nothing
    /// else of a value is interpreted: a text that begins with `@` or `[` stays that text.
    ///
    /// # Errors
    /// One sentence for each value that is unknown, missing or of another type.
    pub fn check(&self, input: &Input) -> Result<Input, Vec<String>> {
        let mut checked = Input { values: IndexMap::new(), files: input.files.clone() };
        let (mut problems, mut misread) = (Vec::new(), Vec::new());
        for (name, value) in &input.values {
            let typed = self.find(name).and_then(|(name, param)| Ok((name, coerce(name, param, value)?)));
            match typed {
                Ok((name, value)) => _ = checked.values.insert(name.to_owned(), value),
                Err(problem) => {
                    problems.push(problem);
                    misread.push(name.clone());
                }
            }
        }
        for name in input.files.keys() {
            match self.find(name) {
                Ok((_, param)) if matches!(param.kind, ParamKind::File | ParamKind::Files) => {}
                Ok(_) => problems.push(format!("{name} takes no file")),
                Err(problem) => problems.push(problem),
            }
        }
        self.complete(&mut checked, &misread, &mut problems);
        if problems.is_empty() { Ok(checked) } else { Err(problems) }
    }

    /// Fills in defaults, and finds what is missing or not of its type. `misread` are parameters with a problem already.
    pub fn complete(&self, input: &mut Input, misread: &[String], problems: &mut Vec<String>) {
        for (name, param) in &self.action.params {
            let there = input.has(name) || misread.contains(name);
            if !there && let Some(default) = &param.default {
                input.values.insert(name.clone(), default.clone());
            }
            if !there && param.required {
                problems.push(format!("{name} is missing ({})", param.about));
            }
            if param.kind == ParamKind::File && input.files.get(name).is_some_and(|files| files.len() > 1) {
                problems.push(format!("{name} takes one file"));
            }
            if let Some(value) = input.values.get(name)
                && let Err(problem) = check_value(name, param, value)
            {
                problems.push(problem);
            }
        }
        let there = |name: &String| input.has(name) || misread.contains(name);
        for group in self.action.one_of.iter().filter(|group| !group.iter().any(there)) {
            problems.push(format!("one of {} is missing", group.join(", ")));
        }
    }
}

/// A value in its parameter's type.
fn coerce(name: &str, param: &ActionParam, value: &Value) -> Result<Value, String> {
    match (param.kind, value) {
        (ParamKind::File | ParamKind::Files, _) => {
            Err(format!("{name} takes a file, which can only be named on the command line"))
        }
        (_, Value::Null) if param.required => Err(format!("{name} is required and cannot be null")),
        (ParamKind::Integer | ParamKind::Number | ParamKind::Boolean, Value::String(text)) => {
            parse_scalar(name, param.kind, text)
        }
        (ParamKind::Array, one) if !matches!(one, Value::Array(_) | Value::Null) => Ok(Value::Array(vec![one.clone()])),
        _ => Ok(value.clone()),
    }
}

/// Returns a text as the number or boolean that it is; as it is for all other types.
///
/// # Errors
/// A sentence that says what the parameter takes.
pub fn parse_scalar(name: &str, kind: ParamKind, text: &str) -> Result<Value, String> {
    match kind {
        ParamKind::Integer => {
            let number = text.trim().parse::<i64>();
            number.map(Value::from).map_err(|_| format!("{name} takes a whole number, not {text:?}"))
        }
        ParamKind::Number => {
            // A decimal keeps its digits where they are exact.
            let number = crate::json::parse(text.trim()).ok().filter(Value::is_number);
            number.ok_or_else(|| format!("{name} takes a number, not {text:?}"))
        }
        ParamKind::Boolean => match text {
            "true" | "yes" | "1" => Ok(Value::Bool(true)),
            "false" | "no" | "0" => Ok(Value::Bool(false)),
            _ => Err(format!("{name} takes true or false, not {text:?}")),
        },
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Whether a value is what its parameter takes.
fn check_value(name: &str, param: &ActionParam, value: &Value) -> Result<(), String> {
    let wrapped = param.wrap.is_some();
    let fits = match (param.kind, value) {
        (_, Value::Null)
        | (ParamKind::Integer | ParamKind::Number, Value::Number(_))
        | (ParamKind::Boolean, Value::Bool(_))
        | (ParamKind::Array, Value::Array(_))
        | (ParamKind::Object, Value::Object(_)) => true,
        (ParamKind::String, value) => wrapped || !matches!(value, Value::Array(_) | Value::Object(_)),
        (_, Value::String(_)) => wrapped,
        _ => false,
    };
    if !fits {
        return Err(format!("{name} takes {}", kind_words(param.kind)));
    }
    if let Value::String(text) = value
        && !param.choices.is_empty()
        && !param.choices.contains(text)
    {
        return Err(format!("{name} is one of {}, not {text:?}", param.choices.join(", ")));
    }
    Ok(())
}

/// A parameter's type in words.
fn kind_words(kind: ParamKind) -> &'static str {
    match kind {
        ParamKind::String => "a text",
        ParamKind::Integer => "a whole number",
        ParamKind::Number => "a number",
        ParamKind::Boolean => "true or false",
        ParamKind::Array => "an array",
        ParamKind::Object => "an object",
        ParamKind::File => "a file",
        ParamKind::Files => "files",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    fn action() -> Action {
        let text = r#"
            about = "x"
            path = "/x/{id}"
            [params]
            id = { about = "Which one", required = true }
            amount = { about = "Amount", type = "integer" }
            silent = { about = "Silent", type = "boolean" }
            blocks = { about = "Blocks", type = "array" }
            sort = { about = "Order", choices = ["asc", "desc"], default = "asc" }
            photo = { about = "Photo", type = "file" }
        "#;
        Action::deserialize(toml::Deserializer::parse(text).unwrap()).unwrap()
    }

    fn check(values: Value) -> Result<Value, Vec<String>> {
        let Value::Object(values) = values else { panic!("an object") };
        let action = action();
        let checked = Parameters { action: &action, names: NameCase::Camel }.check(&values.into_iter().collect())?;
        assert!(checked.files.is_empty());
        Ok(json!(checked.values))
    }

    #[test]
    fn values_get_their_declared_types_and_nothing_else_is_read_into_them() {
        let values = json!({"id": "@/etc/passwd", "amount": "-3", "silent": "yes", "blocks": "[\"a\"]"});
        let expected =
            json!({"id": "@/etc/passwd", "amount": -3, "silent": true, "blocks": ["[\"a\"]"], "sort": "asc"});
        assert_eq!(check(values).unwrap(), expected);
    }

    #[test]
    fn attack_b1_a_value_never_names_a_file() {
        for value in ["/etc/hostname", "@/etc/hostname", "-"] {
            let problems = check(json!({"id": "1", "photo": value})).unwrap_err();
            assert_eq!(problems, ["photo takes a file, which can only be named on the command line"]);
        }
    }
}
