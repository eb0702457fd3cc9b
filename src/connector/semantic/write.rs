//! Checks of a stream's `write`: its actions exist and have the parameters that it names.

use super::Diagnostics;
use crate::connector::{Action, Connector, RecordWriting};
use crate::near::did_you_mean_or_list;

pub(super) fn check_all(connector: &Connector, found: &mut Diagnostics) {
    for (name, stream) in &connector.streams {
        if let Some(writing) = &stream.write {
            WriteChecker { connector, key: format!("streams.{name}.write"), found }.check(writing);
        }
    }
}

struct WriteChecker<'c, 'f> {
    connector: &'c Connector,
    key: String,
    found: &'f mut Diagnostics,
}

impl<'c> WriteChecker<'c, '_> {
    fn check(&mut self, writing: &'c RecordWriting) {
        self.action("create", &writing.create);
        let identity: Vec<&String> = writing.identity.keys().collect();
        if identity.is_empty() {
            self.say("identity", "is empty; name the parameters that identify the record".to_owned());
        }
        let named =
            [("update", Some(&writing.update)), ("read", Some(&writing.read)), ("delete", writing.delete.as_ref())];
        for (place, name) in named {
            let Some(name) = name else { continue };
            let Some(action) = self.action(place, name) else { continue };
            self.params(place, name, action, &identity);
            let missing = action.params.iter().find(|(param, rule)| rule.required && !identity.contains(param));
            if let Some((param, _)) = missing.filter(|_| place != "update") {
                self.say(place, format!("{name} needs {param:?}, which identity does not give"));
            }
        }
        if let Some(action) = self.connector.actions.get(&writing.read) {
            self.params("read_params", &writing.read, action, &writing.read_params.keys().collect::<Vec<_>>());
        }
        if let Some(find) = &writing.find
            && let Some(action) = self.action("find.action", &find.action)
        {
            let given: Vec<&String> = find.params.keys().chain([&find.param]).collect();
            self.params("find.params", &find.action, action, &given);
        }
    }

    fn action(&mut self, place: &str, name: &str) -> Option<&'c Action> {
        let found = self.connector.actions.get(name);
        if found.is_none() {
            let known = did_you_mean_or_list(name, self.connector.actions.keys().map(String::as_str));
            self.say(place, format!("{name:?} is not an action{known}"));
        }
        found
    }

    fn params(&mut self, place: &str, name: &str, action: &Action, given: &[&String]) {
        for param in given.iter().filter(|param| !action.params.contains_key(**param)) {
            let known = did_you_mean_or_list(param, action.params.keys().map(String::as_str));
            self.say(place, format!("{name} has no parameter {param:?}{known}"));
        }
    }

    fn say(&mut self, place: &str, message: String) {
        self.found.push((format!("{}.{place}", self.key), message));
    }
}
