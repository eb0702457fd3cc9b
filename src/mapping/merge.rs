//! The three-way merge of an entity: what each side has against the version that both last agreed on, field by field. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::json::Json;
use crate::model::{ConflictPolicy, EntityFields, FieldConflict, SyncSide};

/// What is merged.
#[derive(Clone, Copy, Debug)]
pub struct MergeInput<'a> {
    /// What both sides last agreed on. A field that is absent was never agreed on.
    pub agreed: &'a EntityFields,
    /// What the user's side has. A field that is absent is as it was.
    pub ours: &'a EntityFields,
    /// What the service has. A field that is absent is only written, never read.
    pub theirs: &'a EntityFields,
    /// The fields that can be written at the service; of the others the service decides.
    pub writable: &'a BTreeSet<String>,
    pub policy: ConflictPolicy,
    /// The side that was changed last.
    pub newer: SyncSide,
    /// Whose value the user chose for fields, whatever the policy says.
    pub chosen: &'a BTreeMap<String, SyncSide>,
}

/// What a merge came to. Both sides are equal once `to_ours` and `to_theirs` are written, but for the conflicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeOutcome {
    /// Values to give to the user's side.
    pub to_ours: EntityFields,
    /// Values to write at the service.
    pub to_theirs: EntityFields,
    /// Values on which both sides agree already.
    pub same: EntityFields,
    pub conflicts: Vec<FieldConflict>,
}

/// Merges an entity.
///
/// | agreed | ours | theirs | result |
/// | --- | --- | --- | --- |
/// | a | a | b | b is given to the user's side |
/// | a | b | a | b is written at the service |
/// | a | b | b | both agree on b |
/// | a | b | c | the policy decides, or it is a conflict |
pub fn merge(input: &MergeInput<'_>) -> MergeOutcome {
    let mut outcome = MergeOutcome::default();
    let names: BTreeSet<&String> = input.ours.keys().chain(input.theirs.keys()).chain(input.agreed.keys()).collect();
    for name in names {
        merge_field(input, name, &mut outcome);
    }
    outcome
}

fn merge_field(input: &MergeInput<'_>, name: &String, outcome: &mut MergeOutcome) {
    let agreed = input.agreed.get(name);
    let is_writable = input.writable.contains(name);
    // What is absent on a side is as it was agreed.
    let ours = input.ours.get(name).or(agreed);
    let theirs = input.theirs.get(name).or(agreed);
    let mut take = |side: SyncSide, value: &Value| {
        let values = match side {
            SyncSide::Ours => &mut outcome.to_theirs,
            SyncSide::Theirs => &mut outcome.to_ours,
        };
        values.insert(name.clone(), value.clone());
    };
    let (ours, theirs) = match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours, theirs),
        (Some(ours), None) if is_writable => return take(SyncSide::Ours, ours),
        (None, Some(theirs)) => return take(SyncSide::Theirs, theirs),
        _ => return,
    };
    if same(ours, theirs) {
        outcome.same.insert(name.clone(), theirs.clone());
        return;
    }
    // A side that never had a value gives way.
    match (agreed, ours.is_null(), theirs.is_null()) {
        (None, false, true) if is_writable => return take(SyncSide::Ours, ours),
        (None, true, false) => return take(SyncSide::Theirs, theirs),
        _ => {}
    }
    let is_changed = |value: &Value| agreed.is_none_or(|agreed| !same(agreed, value));
    let winner = match (is_changed(ours), is_changed(theirs)) {
        _ if !is_writable => Some(SyncSide::Theirs),
        (true, false) => Some(SyncSide::Ours),
        (false, _) => Some(SyncSide::Theirs),
        (true, true) => input.chosen.get(name).copied().or(match input.policy {
            ConflictPolicy::Newest => Some(input.newer),
            ConflictPolicy::Ours => Some(SyncSide::Ours),
            ConflictPolicy::Theirs => Some(SyncSide::Theirs),
            ConflictPolicy::Ask => None,
        }),
    };
    match winner {
        Some(SyncSide::Ours) => take(SyncSide::Ours, ours),
        Some(SyncSide::Theirs) => take(SyncSide::Theirs, theirs),
        None => outcome.conflicts.push(FieldConflict {
            field: name.clone(),
            agreed: agreed.cloned(),
            ours: Some(ours.clone()),
            theirs: Some(theirs.clone()),
        }),
    }
}

/// Whether two values are equal; numbers are equal if their values are.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Number(one), other) => Json::from_validated(one.as_str()).equals(other),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "read_only"];

    fn fields(values: &Value) -> EntityFields {
        values.as_object().unwrap().clone().into_iter().collect()
    }

    fn writable() -> BTreeSet<String> {
        NAMES[..3].iter().map(ToString::to_string).collect()
    }

    fn merged(agreed: &Value, ours: &Value, theirs: &Value, policy: ConflictPolicy) -> MergeOutcome {
        merge(&MergeInput {
            agreed: &fields(agreed),
            ours: &fields(ours),
            theirs: &fields(theirs),
            writable: &writable(),
            policy,
            newer: SyncSide::Theirs,
            chosen: &BTreeMap::new(),
        })
    }

    #[test]
    fn each_field_is_merged_by_itself() {
        let agreed = json!({"a": 1, "b": 1, "c": 1, "read_only": 1});
        let (ours, theirs) =
            (json!({"a": 2, "c": 2, "read_only": 9}), json!({"a": 1.0, "b": 2, "c": 3, "read_only": 2}));
        let outcome = merged(&agreed, &ours, &theirs, ConflictPolicy::Ask);
        assert_eq!(outcome.to_theirs, fields(&json!({"a": 2})));
        assert_eq!(outcome.to_ours, fields(&json!({"b": 2, "read_only": 2})));
        assert_eq!(outcome.conflicts.iter().map(|conflict| conflict.field.as_str()).collect::<Vec<_>>(), ["c"]);
        for (policy, theirs_get, ours_get) in [
            (ConflictPolicy::Ours, json!({"a": 2, "c": 2}), json!({"b": 2, "read_only": 2})),
            (ConflictPolicy::Theirs, json!({"a": 2}), json!({"b": 2, "c": 3, "read_only": 2})),
            (ConflictPolicy::Newest, json!({"a": 2}), json!({"b": 2, "c": 3, "read_only": 2})),
        ] {
            let outcome = merged(&agreed, &ours, &theirs, policy);
            assert_eq!((outcome.to_theirs, outcome.to_ours), (fields(&theirs_get), fields(&ours_get)), "{policy}");
            assert!(outcome.conflicts.is_empty());
        }
    }

    #[test]
    fn sides_that_never_agreed_agree_on_what_is_equal() {
        let outcome =
            merged(&json!({}), &json!({"a": 1, "b": 1}), &json!({"a": 1, "b": 2, "c": 3}), ConflictPolicy::Ask);
        assert_eq!(outcome.same, fields(&json!({"a": 1})));
        assert_eq!(outcome.to_ours, fields(&json!({"c": 3})));
        assert_eq!(outcome.conflicts[0].field, "b");
        // What the service does not show is only written.
        let outcome = merged(&json!({}), &json!({"a": 1}), &json!({}), ConflictPolicy::Ask);
        assert_eq!(outcome.to_theirs, fields(&json!({"a": 1})));
    }

    fn some_fields() -> impl Strategy<Value = EntityFields> {
        proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), 0..4_u8, 0..5)
            .prop_map(|values| values.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
    }

    fn policy() -> impl Strategy<Value = ConflictPolicy> {
        proptest::sample::select(&ConflictPolicy::ALL[..])
    }

    proptest! {
        /// After both sides apply a merge, they are equal except for conflicts, and a second merge does nothing.
        #[test]
        fn both_sides_end_equal(
            agreed in some_fields(),
            ours in some_fields(),
            theirs in some_fields(),
            policy in policy(),
            is_ours_newer in any::<bool>(),
        ) {
            let newer = if is_ours_newer { SyncSide::Ours } else { SyncSide::Theirs };
            let (writable, chosen) = (writable(), BTreeMap::new());
            let merge_of = |agreed: &EntityFields, ours: &EntityFields, theirs: &EntityFields| {
                merge(&MergeInput { agreed, ours, theirs, writable: &writable, policy, newer, chosen: &chosen })
            };
            let outcome = merge_of(&agreed, &ours, &theirs);
            let with = |below: &EntityFields, above: &EntityFields| -> EntityFields {
                below.clone().into_iter().chain(above.clone()).collect()
            };
            // What a side does not mention it has as it was agreed.
            let ours_then = with(&with(&agreed, &ours), &outcome.to_ours);
            let theirs_then = with(&with(&agreed, &theirs), &outcome.to_theirs);
            let in_conflict: BTreeSet<&String> = outcome.conflicts.iter().map(|conflict| &conflict.field).collect();
            prop_assert!(policy == ConflictPolicy::Ask || in_conflict.is_empty());
            for name in ours_then.keys().chain(theirs_then.keys()) {
                let is_unreadable = !writable.contains(name) && !theirs_then.contains_key(name);
                if !in_conflict.contains(name) && !is_unreadable {
                    prop_assert_eq!(ours_then.get(name), theirs_then.get(name), "{}", name);
                }
                // A change of one side alone is never lost.
                let (was, our, their) = (agreed.get(name), ours.get(name), theirs.get(name));
                if writable.contains(name) && was.is_some() && our.is_some_and(|our| Some(our) != was) && (their.is_none() || their == was) {
                    prop_assert_eq!(theirs_then.get(name), our);
                }
                if was.is_some() && their.is_some_and(|their| Some(their) != was) && (our.is_none() || our == was) {
                    prop_assert_eq!(ours_then.get(name), their);
                }
            }
            let agreed_then: EntityFields =
                with(&with(&agreed, &outcome.same), &with(&outcome.to_ours, &outcome.to_theirs));
            let again = merge_of(&agreed_then, &ours_then, &theirs_then);
            prop_assert!(again.to_theirs.is_empty() && again.to_ours.is_empty(), "{:?}", again);
            prop_assert_eq!(again.conflicts, outcome.conflicts);
        }
    }
}
