//! Server-sent events, as far as answers of MCP servers need them (WHATWG HTML, section 9.2.6). Pure.

/// Returns the data of each event that is complete: a blank line ends one. Events without data are left out.
pub(super) fn complete_events(text: &str) -> Vec<String> {
    let mut events = Vec::new();
    let mut data: Option<String> = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A line ends with CR LF, LF or CR.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    for line in text.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        if line.is_empty() {
            events.extend(data.take());
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            }
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_a_blank_line() {
        assert_eq!(complete_events("event: message\ndata: {\"a\":\ndata:1}\nid: 7\n\n"), ["{\"a\":\n1}"]);
        assert_eq!(complete_events("data: one\r\n\r\n: comment\r\rdata: two\r\r"), ["one", "two"]);
        assert_eq!(complete_events("\u{feff}data\n\ndata:  x\n\nretry: 5\n\n"), ["", " x"]);
        assert!(complete_events("data: cut off").is_empty());
        assert!(complete_events("data: cut off\n").is_empty());
        assert!(complete_events("").is_empty());
    }
}
