//! From an entity of the user's to the parameters of the actions that create and update its object.
//!
//! A line of `[out]` gives a parameter, or a member of one. A field that is a plain path needs none: it is written to the
//! parameter that the action sends at this path.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::coerce::FieldType;
use super::compile::{Mapper, read};
use super::expression::Draft;
use super::extract::PathStep;
use super::source::{BindingSource, FieldSource};
use super::{BindingError, FieldFailure};
use crate::converter::{LookupTable, quoted};
use crate::json::{self, Json};
use crate::model::{EntityFields, WriteKind};

/// A parameter of an action that is sent in the body of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableParam {
    pub name: String,
    /// Where the body has it, which is where a record has it too.
    pub path: Vec<String>,
    /// Whether it takes an object, whose members are then written one by one.
    pub is_object: bool,
}

/// The actions that an entity is written with.
#[derive(Clone, Debug, Default)]
pub struct WriteTarget {
    pub create: Vec<WritableParam>,
    pub update: Vec<WritableParam>,
    /// The places in records that the service fills by itself, such as keys.
    pub read_only: Vec<Vec<String>>,
}

/// The outbound part of a binding.
#[derive(Debug)]
pub struct Outbound {
    create: OutLines,
    update: OutLines,
    inbound: Vec<String>,
    writable: BTreeSet<String>,
}

/// The lines for one action.
#[derive(Debug)]
struct OutLines {
    lines: Vec<OutLine>,
    mapper: Mapper,
}

#[derive(Debug)]
struct OutLine {
    /// The parameter, and the path of a member in it.
    path: Vec<String>,
    /// The members of the entity that it reads; empty for a constant.
    reads: Vec<String>,
}

impl Outbound {
    /// Compiles the outbound part of a binding for actions.
    ///
    /// # Errors
    /// [`BindingError`] of the first line that is wrong.
    pub fn compile(source: &BindingSource, target: &WriteTarget) -> Result<Self, BindingError> {
        let [both, create, update] = &source.out;
        let declared = [both, create, update].into_iter().flatten();
        let declared_reads: Vec<String> = declared
            .map(|field| reads_of(field, &source.tables))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect();
        let plain = plain_fields(source, target, &declared_reads)?;
        let lines = |own: &[FieldSource], params: &[WritableParam]| {
            let mut fields: Vec<FieldSource> = both.iter().chain(own).cloned().collect();
            for (name, path) in &plain {
                // What a declared line writes is not written twice.
                let derived =
                    write_path(path, params).filter(|to| !fields.iter().any(|field| overlaps(&field.path, to)));
                fields.extend(derived.map(|to| derived_line(name, to)));
            }
            OutLines::compile(&fields, &source.tables)
        };
        let (create, update) = (lines(create, &target.create)?, lines(update, &target.update)?);
        let inbound: Vec<String> = source.fields.iter().map(FieldSource::name).collect();
        let writable = update.lines.iter().flat_map(|line| &line.reads).flat_map(|read| fields_read(read, &inbound));
        Ok(Self { writable: writable.collect(), create, update, inbound })
    }

    /// The fields that can be changed at the service.
    pub fn writable(&self) -> &BTreeSet<String> {
        &self.writable
    }

    /// The fields that an entity has on the user's side: those of the binding, and those that are only written.
    pub fn field_names(&self) -> BTreeSet<String> {
        let reads =
            [&self.create, &self.update].into_iter().flat_map(|lines| &lines.lines).flat_map(|line| &line.reads);
        let read = reads.flat_map(|read| fields_read(read, &self.inbound));
        read.chain(self.inbound.iter().cloned()).collect()
    }

    /// The fields that are in the parameters of a new object.
    pub fn created_fields(&self) -> BTreeSet<String> {
        let reads = self.create.lines.iter().flat_map(|line| &line.reads);
        reads.flat_map(|read| fields_read(read, &self.inbound)).collect()
    }

    /// The parameters that create an object, or that give it the values of fields that changed. A value that is null is left
    /// out of a new object; a changed one is sent as `empty`.
    ///
    /// # Errors
    /// Each parameter that could not be made, and why.
    pub fn parameters(
        &self,
        kind: WriteKind,
        entity: &EntityFields,
        changed: &BTreeSet<String>,
        empty: &Value,
    ) -> Result<Map<String, Value>, Vec<FieldFailure>> {
        let lines = if kind == WriteKind::Create { &self.create } else { &self.update };
        let document = document_of(entity).to_string();
        let (mut params, mut failures) = (Map::new(), Vec::new());
        for (line, value) in lines.lines.iter().zip(lines.mapper.values(&document)) {
            let fields = || line.reads.iter().flat_map(|read| fields_read(read, &self.inbound));
            let is_meant =
                kind == WriteKind::Create || line.reads.is_empty() || fields().any(|name| changed.contains(&name));
            if !is_meant {
                continue;
            }
            match value {
                Ok(value) => match Json::from_validated(&value).value() {
                    Value::Null if kind == WriteKind::Create => {}
                    Value::Null => set(&mut params, &line.path, empty.clone()),
                    value => set(&mut params, &line.path, value),
                },
                Err(reason) => failures.push(FieldFailure { field: line.path.join("."), reason }),
            }
        }
        if failures.is_empty() { Ok(params) } else { Err(failures) }
    }
}

impl OutLines {
    fn compile(fields: &[FieldSource], tables: &[Arc<LookupTable>]) -> Result<Self, BindingError> {
        let line = |field: &FieldSource| Ok(OutLine { path: field.path.clone(), reads: reads_of(field, tables)? });
        let lines = fields.iter().map(line).collect::<Result<_, BindingError>>()?;
        Ok(Self { lines, mapper: Mapper::of_fields(fields, tables)? })
    }
}

/// The members of an entity that an expression reads, as names of fields; the part before an item of a list.
fn reads_of(field: &FieldSource, tables: &[Arc<LookupTable>]) -> Result<Vec<String>, BindingError> {
    let (_, paths) = read(field, tables)?;
    let name = |(steps, _): (Vec<PathStep>, String)| {
        let names = steps.into_iter().map_while(|step| match step {
            PathStep::Member(name) => Some(name),
            PathStep::Item(_) => None,
        });
        names.collect::<Vec<_>>().join(".")
    };
    Ok(paths.into_iter().map(name).filter(|name| !name.is_empty()).collect())
}

/// The fields that a path of an entity reads: the field of this name, those below it or the one above; else itself.
fn fields_read(path: &str, inbound: &[String]) -> Vec<String> {
    let below =
        |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let found: Vec<String> =
        inbound.iter().filter(|name| below(name, path) || below(path, name)).map(ToString::to_string).collect();
    if found.is_empty() { vec![path.to_owned()] } else { found }
}

/// The fields that are plain paths and that no declared line reads, with their paths.
fn plain_fields(
    source: &BindingSource,
    target: &WriteTarget,
    declared: &[String],
) -> Result<Vec<(String, Vec<String>)>, BindingError> {
    let inbound: Vec<String> = source.fields.iter().map(FieldSource::name).collect();
    let taken: BTreeSet<String> = declared.iter().flat_map(|path| fields_read(path, &inbound)).collect();
    let mut plain = Vec::new();
    for field in source.fields.iter().filter(|field| !taken.contains(&field.name())) {
        let (Some(Draft::Path { steps, .. }), _) = read(field, &source.tables)? else { continue };
        let path: Option<Vec<String>> = steps
            .into_iter()
            .map(|step| match step {
                PathStep::Member(name) => Some(name),
                PathStep::Item(_) => None,
            })
            .collect();
        if let Some(path) = path.filter(|path| !path.is_empty() && !target.read_only.contains(path)) {
            plain.push((field.name(), path));
        }
    }
    Ok(plain)
}

/// The parameter that writes a place of a record: the one that is sent there, or a member of an object above it.
fn write_path(path: &[String], params: &[WritableParam]) -> Option<Vec<String>> {
    if let Some(param) = params.iter().find(|param| param.path == path) {
        return Some(vec![param.name.clone()]);
    }
    let above =
        params.iter().filter(|param| param.is_object && path.len() > param.path.len() && path.starts_with(&param.path));
    let nearest = above.max_by_key(|param| param.path.len())?;
    Some([std::slice::from_ref(&nearest.name), &path[nearest.path.len()..]].concat())
}

fn overlaps(one: &[String], other: &[String]) -> bool {
    let shorter = one.len().min(other.len());
    one[..shorter] == other[..shorter]
}

/// A line that writes a field as it is.
fn derived_line(field: &str, path: Vec<String>) -> FieldSource {
    let expression = field.split('.').map(|name| format!(".{}", quoted(name))).collect::<String>();
    FieldSource { line: 0, path, is_optional: true, kind: FieldType::Any, expression }
}

fn set(params: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        params.insert(first.clone(), value);
        return;
    }
    let below = params.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(members) = below {
        set(members, rest, value);
    }
}

impl BindingSource {
    /// The field that is made of the value at a path and of nothing else.
    pub fn field_reading(&self, path: &[String]) -> Option<String> {
        let reads = |field: &&FieldSource| {
            let Ok((_, paths)) = read(field, &self.tables) else { return false };
            let [(steps, _)] = paths.as_slice() else { return false };
            let names = steps.iter().map(|step| match step {
                PathStep::Member(name) => Some(name.as_str()),
                PathStep::Item(_) => None,
            });
            names.eq(path.iter().map(|name| Some(name.as_str())))
        };
        self.fields.iter().find(reads).map(FieldSource::name)
    }
}

/// The document of fields: `address.city` becomes a member of an object.
pub fn document_of(fields: &EntityFields) -> Value {
    let mut document = Map::new();
    for (name, value) in fields {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        set(&mut document, &path, value.clone());
    }
    Value::Object(document)
}

/// The fields of these names that a document has. A value of null is one.
pub fn fields_of<'n>(document: &Value, names: impl IntoIterator<Item = &'n String>) -> EntityFields {
    let find = |name: &String| name.split('.').try_fold(document, |value, name| value.as_object()?.get(name)).cloned();
    names.into_iter().filter_map(|name| Some((name.clone(), find(name)?))).collect()
}

/// The fields of a document that a mapper made.
impl Mapper {
    /// Maps a document to fields.
    ///
    /// # Errors
    /// Every field that could not be made, and why.
    pub fn fields(&self, document: &str) -> Result<EntityFields, Vec<FieldFailure>> {
        let mapped = self.map(document)?;
        let document = json::parse(&mapped).unwrap_or_default();
        Ok(fields_of(&document, self.field_names().map(str::to_owned).collect::<Vec<_>>().iter()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    fn param(name: &str, at: &str) -> WritableParam {
        WritableParam { name: name.to_owned(), path: path(at), is_object: name == "properties" }
    }

    fn compiled(text: &str) -> Outbound {
        let target = WriteTarget {
            create: vec![
                param("properties", "properties"),
                param("email", "properties/email"),
                param("title", "title"),
            ],
            update: vec![param("properties", "properties")],
            read_only: vec![path("id"), path("properties/changed")],
        };
        Outbound::compile(&BindingSource::parse(text).unwrap(), &target).unwrap()
    }

    fn params(outbound: &Outbound, kind: WriteKind, entity: &Value, changed: &[&str]) -> Result<Value, String> {
        let changed = changed.iter().map(ToString::to_string).collect();
        let entity = fields_of(entity, &outbound.field_names());
        let params = outbound.parameters(kind, &entity, &changed, &json!(""));
        params.map(Value::Object).map_err(|failures| super::super::failure_text(&failures))
    }

    #[test]
    fn plain_paths_go_both_ways_by_themselves() {
        let outbound = compiled(
            "id = .id\nmail = .properties.email\naddress.city? = .properties.city\nchanged = .properties.changed\n\
             name = \"\\(.properties.first) \\(.properties.last)\"\ntitle = .title\nfirst = .tags[0]\n[sync]\n",
        );
        let entity = json!({"id": "1", "mail": "a@b.c", "address": {"city": null}, "title": "t", "name": "A B"});
        let created = json!({"email": "a@b.c", "title": "t"});
        assert_eq!(params(&outbound, WriteKind::Create, &entity, &[]).unwrap(), created);
        let changed = json!({"properties": {"email": "a@b.c", "city": ""}});
        let fields = ["mail", "address.city", "title"];
        assert_eq!(params(&outbound, WriteKind::Update, &entity, &fields).unwrap(), changed);
        assert_eq!(params(&outbound, WriteKind::Update, &entity, &["name"]).unwrap(), json!({}));
        // A title is only for new ones, a name only comes in.
        assert_eq!(outbound.writable().iter().collect::<Vec<_>>(), ["address.city", "mail"]);
    }

    #[test]
    fn what_is_more_than_a_path_is_declared() {
        let outbound = compiled(
            "mail = .properties.email | lower\nfull = \"\\(.properties.first) \\(.properties.last)\"\ncity? = .properties.city\n\
             [out]\nproperties.email = .mail\nproperties.first = .full | split(\" \")[0]\nproperties.source = \"shop\"\n\
             properties.city = .city | upper\nproperties.vat? = .tax.number\n[out.create]\ntitle = \"new\"\n",
        );
        let entity = json!({"mail": "a@b.c", "full": "A B", "city": "Rome"});
        let all =
            json!({"properties": {"email": "a@b.c", "first": "A", "source": "shop", "city": "ROME"}, "title": "new"});
        assert_eq!(params(&outbound, WriteKind::Create, &entity, &[]).unwrap(), all);
        let some = json!({"properties": {"first": "A", "source": "shop"}});
        assert_eq!(params(&outbound, WriteKind::Update, &entity, &["full"]).unwrap(), some);
        assert_eq!(outbound.writable().iter().collect::<Vec<_>>(), ["city", "full", "mail", "tax.number"]);
        let failed = params(&outbound, WriteKind::Create, &json!({"mail": "a@b.c", "city": "x"}), &[]).unwrap_err();
        assert_eq!(failed, "properties.first: .full is missing");
    }
}
