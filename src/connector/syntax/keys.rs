//! Finds the dotted path at each position of a text that may be broken; the parser's document has each key only once.

use std::borrow::Cow;
use std::collections::HashMap;

use toml_parser::Source;
use toml_parser::parser::{Event, EventKind};

/// The most parts of a key that are looked at.
const DEPTH: usize = super::DEPTH as usize;

/// The paths of all keys, in the order of the text.
pub(super) struct KeyOffsets {
    by_offset: HashMap<usize, String>,
    /// Where a path first occurs in full, else where it first occurs as a part of another.
    first: HashMap<String, usize>,
    implicit: HashMap<String, usize>,
}

/// What the text is within.
enum Frame {
    Table(String),
    Array(String, usize),
}

impl KeyOffsets {
    pub(super) fn of(source: Source<'_>, events: &[Event]) -> Self {
        let mut reader = KeyReader {
            keys: Self { by_offset: HashMap::new(), first: HashMap::new(), implicit: HashMap::new() },
            frames: vec![Frame::Table(String::new())],
            arrays: HashMap::new(),
            dotted: Vec::new(),
            value: String::new(),
        };
        for event in events {
            reader.read(source, event);
        }
        reader.keys
    }

    /// The path of the key at a place, and where it is before that.
    pub(super) fn first_definition(&self, offset: usize) -> Option<(&str, usize)> {
        let path = self.by_offset.get(&offset)?;
        let places = [self.first.get(path), self.implicit.get(path)];
        let first = places.into_iter().flatten().copied().find(|first| *first < offset)?;
        Some((path, first))
    }
}

struct KeyReader {
    keys: KeyOffsets,
    frames: Vec<Frame>,
    /// How many tables each array of tables has so far.
    arrays: HashMap<String, usize>,
    /// The parts of the key being read, each with its place.
    dotted: Vec<(usize, String)>,
    /// The path of the value that comes next.
    value: String,
}

impl KeyReader {
    fn read(&mut self, source: Source<'_>, event: &Event) {
        match event.kind() {
            // Deeper ones are refused for their depth.
            EventKind::SimpleKey if self.dotted.len() < DEPTH => {
                let mut name = Cow::Borrowed("");
                if let Some(raw) = source.get(event) {
                    raw.decode_key(&mut name, &mut ());
                }
                self.dotted.push((event.span().start(), name.into_owned()));
            }
            EventKind::KeyValSep => self.value = self.close_key(false),
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.dotted.clear();
                self.frames = vec![Frame::Table(String::new())];
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                let path = self.close_key(event.kind() == EventKind::ArrayTableClose);
                self.frames = vec![Frame::Table(path)];
            }
            EventKind::InlineTableOpen => {
                let path = self.value_path();
                self.frames.push(Frame::Table(path));
            }
            EventKind::ArrayOpen => {
                let path = self.value_path();
                self.frames.push(Frame::Array(path, 0));
            }
            EventKind::InlineTableClose | EventKind::ArrayClose if self.frames.len() > 1 => {
                self.frames.pop();
                self.dotted.clear();
            }
            EventKind::ValueSep => {
                self.dotted.clear();
                if let Some(Frame::Array(_, index)) = self.frames.last_mut() {
                    *index += 1;
                }
            }
            EventKind::Newline => self.dotted.clear(),
            _ => {}
        }
    }

    fn value_path(&self) -> String {
        match self.frames.last() {
            Some(Frame::Array(path, index)) => format!("{path}.{index}"),
            _ => self.value.clone(),
        }
    }

    /// Notes the key that has just been read, and gives its whole path.
    fn close_key(&mut self, opens_array: bool) -> String {
        let mut path = match self.frames.last() {
            Some(Frame::Table(path) | Frame::Array(path, _)) => path.clone(),
            None => String::new(),
        };
        let dotted = std::mem::take(&mut self.dotted);
        let last = dotted.len().saturating_sub(1);
        for (at, (offset, name)) in dotted.into_iter().enumerate() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&name);
            if opens_array && at == last {
                let count = self.arrays.entry(path.clone()).and_modify(|count| *count += 1).or_insert(0);
                path.push_str(&format!(".{count}"));
            } else if let Some(count) = self.arrays.get(&path).filter(|_| at < last) {
                path.push_str(&format!(".{count}"));
            }
            let places = if at == last { &mut self.keys.first } else { &mut self.keys.implicit };
            places.entry(path.clone()).or_insert(offset);
            self.keys.by_offset.insert(offset, path.clone());
        }
        path
    }
}
