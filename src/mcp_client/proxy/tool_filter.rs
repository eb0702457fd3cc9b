//! Filters the tools that a client can see and call. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::matches_any_type;

/// Patterns of tools' names, in which `*` matches any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFilter {
    /// Only these; every tool if there are none.
    pub allow: Vec<String>,
    /// None of these, even if `allow` covers them.
    pub ignore: Vec<String>,
}

#[derive(Deserialize)]
struct ToolName<'t> {
    #[serde(borrow)]
    name: Option<&'t RawValue>,
}

impl ToolFilter {
    /// Whether every tool is allowed.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.ignore.is_empty()
    }

    /// Whether a tool may be called.
    pub fn allows(&self, name: &str) -> bool {
        let is_ignored = !self.ignore.is_empty() && matches_any_type(&self.ignore, name);
        !is_ignored && matches_any_type(&self.allow, name)
    }

    /// Whether a tool of a list is passed on. One whose name cannot be read could not be judged when it is called.
    pub(super) fn allows_definition(&self, tool: &RawValue) -> bool {
        let parsed: Option<ToolName<'_>> = serde_json::from_str(tool.get()).ok();
        let name = parsed.and_then(|tool| serde_json::from_str::<String>(tool.name?.get()).ok());
        self.is_empty() || name.is_some_and(|name| self.allows(&name))
    }
}

/// The result of `tools/list` without some tools, every other byte as it was; as a whole if it holds no list.
///
/// # Errors
/// The parser's, for a list that cannot be read or that the result holds twice.
pub(super) fn without_tools(result: &str, is_passed: impl Fn(&RawValue) -> bool) -> serde_json::Result<String> {
    #[derive(Deserialize)]
    struct ToolList<'t> {
        #[serde(borrow)]
        tools: Option<Vec<&'t RawValue>>,
    }
    let list: ToolList<'_> = serde_json::from_str(result)?;
    let tools = list.tools.unwrap_or_default();
    let (Some(first), Some(last)) = (tools.first(), tools.last()) else { return Ok(result.to_owned()) };
    // Each item is a part of the result's own text.
    let offset = |tool: &RawValue| tool.get().as_ptr() as usize - result.as_ptr() as usize;
    let (start, end) = (offset(first), offset(last) + last.get().len());
    let passed: Vec<&str> = tools.iter().filter(|tool| is_passed(tool)).map(|tool| tool.get()).collect();
    Ok(format!("{}{}{}", &result[..start], passed.join(","), &result[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(allow: &[&str], ignore: &[&str]) -> ToolFilter {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        ToolFilter { allow: owned(allow), ignore: owned(ignore) }
    }

    #[test]
    fn a_tool_that_is_ignored_is_not_allowed() {
        let both = filter(&["get_*", "list"], &["*_secret", "get_keys"]);
        for (name, allowed) in
            [("get_user", true), ("list", true), ("lists", false), ("get_secret", false), ("get_keys", false)]
        {
            assert_eq!(both.allows(name), allowed, "{name}");
        }
        assert!(filter(&[], &[]).allows("anything") && filter(&[], &[]).is_empty());
        assert!(filter(&[], &["delete*"]).allows("read") && !filter(&[], &["delete*"]).allows("delete_all"));
    }

    #[test]
    fn a_filtered_list_keeps_every_other_byte() {
        let result = r#"{ "n":1.00, "tools" : [ {"name":"a", "x":1e400} , {"name":"\u0062"},{"title":"no name"},
            {"name":"a","name":"b"}, {"name":"c\ud800"}, {"name":"d"}  ], "nextCursor":"a"}"#;
        let only = |filter: ToolFilter| without_tools(result, |tool| filter.allows_definition(tool)).unwrap();
        assert_eq!(
            only(filter(&["*"], &["b"])),
            r#"{ "n":1.00, "tools" : [ {"name":"a", "x":1e400},{"name":"d"}  ], "nextCursor":"a"}"#
        );
        assert_eq!(only(filter(&["none"], &[])), r#"{ "n":1.00, "tools" : [   ], "nextCursor":"a"}"#);
        for whole in [r#"{"tools":[]}"#, r#"{"resultType":"input_required"}"#] {
            assert_eq!(without_tools(whole, |_| false).unwrap(), whole);
        }
        for bad in [r#"{"tools":[{"name":"a"}],"tools":[]}"#, r#"{"tools":{}}"#, "[]"] {
            assert!(without_tools(bad, |_| true).is_err(), "{bad}");
        }
    }
}
