//! Values of statements with their types. A statement whose types are known is not prepared first, which a pooler that
//! gives each transaction another connection would break (PgBouncer in transaction mode).

use tokio_postgres::types::{ToSql, Type};

/// A value whose type in PostgreSQL follows from its type here.
pub(super) trait SqlValue: Sync {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type);
}

/// A reference to a value.
pub(super) type Value<'a> = &'a dyn SqlValue;

/// The type of a column.
pub(super) trait SqlType {
    const TYPE: Type;
}

impl<T: ToSql + SqlType + Sync> SqlValue for T {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        (self, T::TYPE)
    }
}

impl<T: SqlType> SqlType for Option<T> {
    const TYPE: Type = T::TYPE;
}

macro_rules! sql_types {
    ($($rust:ty => $type:ident),* $(,)?) => {
        $(impl SqlType for $rust {
            const TYPE: Type = Type::$type;
        })*
    };
}

sql_types! {
    i64 => INT8,
    bool => BOOL,
    &str => TEXT,
    &String => TEXT,
    String => TEXT,
    &[u8] => BYTEA,
    Vec<u8> => BYTEA,
    &Vec<u8> => BYTEA,
    Vec<i64> => INT8_ARRAY,
    Vec<Option<i64>> => INT8_ARRAY,
    Vec<bool> => BOOL_ARRAY,
    Vec<Option<bool>> => BOOL_ARRAY,
    Vec<&str> => TEXT_ARRAY,
    Vec<String> => TEXT_ARRAY,
    Vec<Option<String>> => TEXT_ARRAY,
    Vec<&[u8]> => BYTEA_ARRAY,
    Vec<Vec<u8>> => BYTEA_ARRAY,
    Vec<Option<Vec<u8>>> => BYTEA_ARRAY,
}

/// Writes a table `u` of the rows that a statement is given: the workspace, and arrays with the names of their columns. Joined by
/// both columns of a key, it makes the server look up each row. To `workspace_id = $1 AND id = ANY($2)` the answer of a planner
/// that has no statistics of a workspace yet, and takes it for small, is to read all of it. Of this subquery, which OFFSET 0 keeps
/// apart, it does not know that all rows have one workspace.
macro_rules! given {
    ($arrays:literal, $names:literal) => {
        concat!("(SELECT $1::bigint AS workspace_id, n.* FROM unnest(", $arrays, ") n (", $names, ") OFFSET 0) u")
    };
}

pub(super) use given;

/// Returns the values of a statement, whose first one is always the workspace.
pub(super) fn with_workspace<'a>(workspace: &'a i64, values: &[Value<'a>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let workspace: Value<'a> = workspace;
    [workspace].iter().chain(values).map(|value| value.typed()).collect()
}
