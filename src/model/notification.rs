//! Notifications for hooks, without secrets.

use serde_json::{Value, json};

use super::{
    Alert, Approval, Connection, ConnectionMode, ConnectionTransition, GrantStatus, Transition, WorkspaceName,
};
use crate::clock::Timestamp;

/// The version of the JSON that hooks get.
const FORMAT_VERSION: u32 = 1;

/// A reason may quote a vendor's answer; what is longer is not worth an environment variable.
const MAX_REASON_CHARS: usize = 500;

/// The status of an alert.
const ALERT: &str = "alert";

/// What a command has in its environment, and what each variable says.
pub const VARIABLES: [(&str, &str); 11] = [
    ("INTEG_NOTIFY_EVENT", "what happened, in the words above"),
    ("INTEG_NOTIFY_CONNECTION", "the connection, such as slack@work; empty if it is about none"),
    ("INTEG_NOTIFY_ENDPOINT", "the endpoint, if it is about one"),
    ("INTEG_NOTIFY_STREAM", "the stream, if it is about one"),
    ("INTEG_NOTIFY_APPROVAL", "the approval, if one is asked for"),
    ("INTEG_NOTIFY_SUBJECT", "inbox, outbox or the API token, if it is about one"),
    ("INTEG_NOTIFY_CONNECTOR", "the connector of the connection, such as slack"),
    ("INTEG_NOTIFY_WORKSPACE", "the workspace"),
    ("INTEG_NOTIFY_STATUS", "as `integ status` shows it now"),
    ("INTEG_NOTIFY_REASON", "why it does not work; empty after a recovery"),
    ("INTEG_NOTIFY_TIME", "when it was found, as RFC 3339 in UTC"),
];

/// One change of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub transition: Transition,
    pub connection: String,
    /// The endpoint that it is about; the connection is empty then.
    pub endpoint: Option<String>,
    /// The stream of the connection that it is about.
    pub stream: Option<String>,
    /// The approval that is asked for; the connection is empty if the request names none.
    pub approval: Option<String>,
    /// What an alert is about that is about no connection: `inbox`, `outbox`, or the name of an API token.
    pub alert_subject: Option<String>,
    pub connector: String,
    pub workspace: String,
    pub mode: ConnectionMode,
    /// As `integ status` says it.
    pub status: &'static str,
    /// Why it does not work; absent where it does.
    pub reason: Option<String>,
    pub at: Timestamp,
}

impl Notification {
    /// Creates the notification of a connection's transition; the reason, absent after a recovery, is
    /// one line of at most 500 characters.
    pub fn new(changed: &ConnectionTransition, workspace: &WorkspaceName, at: Timestamp) -> Self {
        let Connection { name, mode, grant_status, status_reason: reason, last_error, .. } = &changed.connection;
        let works = changed.transition == Transition::Recovery;
        let reason = reason.as_ref().or(last_error.as_ref()).filter(|_| !works);
        Self {
            transition: changed.transition,
            connection: name.to_string(),
            endpoint: None,
            stream: None,
            approval: None,
            alert_subject: None,
            connector: name.connector().to_owned(),
            workspace: workspace.to_string(),
            mode: *mode,
            status: match grant_status {
                GrantStatus::NeedsReauth => "needs_reauth",
                GrantStatus::Disconnected => "disconnected",
                GrantStatus::Active if works => "active",
                GrantStatus::Active => "error",
            },
            reason: reason.map(|reason| sanitize(reason)),
            at,
        }
    }

    /// That an endpoint was disabled.
    pub fn disabled(endpoint: &str, why: &str, workspace: &WorkspaceName, at: Timestamp) -> Self {
        Self {
            transition: Transition::EndpointDisabled,
            connection: String::new(),
            endpoint: Some(endpoint.to_owned()),
            stream: None,
            approval: None,
            alert_subject: None,
            connector: String::new(),
            workspace: workspace.to_string(),
            mode: ConnectionMode::Live,
            status: "disabled",
            reason: Some(sanitize(why)),
            at,
        }
    }

    /// That a sync of a stream would have marked too many records as deleted.
    pub fn deletes_blocked(
        connection: &Connection,
        stream: &str,
        why: &str,
        workspace: &WorkspaceName,
        at: Timestamp,
    ) -> Self {
        Self {
            transition: Transition::DeletesBlocked,
            connection: connection.name.to_string(),
            endpoint: None,
            stream: Some(stream.to_owned()),
            approval: None,
            alert_subject: None,
            connector: connection.name.connector().to_owned(),
            workspace: workspace.to_string(),
            mode: connection.mode,
            status: "failed",
            reason: Some(sanitize(why)),
            at,
        }
    }

    /// That a request of an API token needs an approval. The reason is the request in a line.
    pub fn approval_requested(approval: &Approval, workspace: &WorkspaceName, at: Timestamp) -> Self {
        let connection = approval.request.connection.as_ref();
        Self {
            transition: Transition::ApprovalRequested,
            connection: connection.map(ToString::to_string).unwrap_or_default(),
            endpoint: None,
            stream: None,
            approval: Some(approval.id.to_string()),
            alert_subject: None,
            connector: connection.map(|name| name.connector().to_owned()).unwrap_or_default(),
            workspace: workspace.to_string(),
            mode: ConnectionMode::Live,
            status: "pending",
            reason: Some(sanitize(&approval.request.summary)),
            at,
        }
    }

    /// That a condition holds.
    pub fn alert(alert: &Alert, workspace: &WorkspaceName, at: Timestamp) -> Self {
        let connection = alert.connection.as_ref();
        Self {
            transition: alert.key.kind,
            connection: connection.map(ToString::to_string).unwrap_or_default(),
            endpoint: None,
            stream: None,
            approval: None,
            alert_subject: connection.is_none().then(|| alert.key.subject.clone()),
            connector: connection.map(|name| name.connector().to_owned()).unwrap_or_default(),
            workspace: workspace.to_string(),
            mode: ConnectionMode::Live,
            status: ALERT,
            reason: Some(sanitize(&alert.reason)),
            at,
        }
    }

    /// What it is about, for a person.
    pub fn subject(&self) -> &str {
        let own = self.endpoint.as_ref().or(self.approval.as_ref()).or(self.alert_subject.as_ref());
        own.unwrap_or(&self.connection)
    }

    /// What the command has in its environment.
    pub fn variables(&self) -> [(&'static str, String); 11] {
        let values = [
            self.transition.as_str().to_owned(),
            self.connection.clone(),
            self.endpoint.clone().unwrap_or_default(),
            self.stream.clone().unwrap_or_default(),
            self.approval.clone().unwrap_or_default(),
            self.alert_subject.clone().unwrap_or_default(),
            self.connector.clone(),
            self.workspace.clone(),
            self.status.to_owned(),
            self.reason.clone().unwrap_or_default(),
            self.at.to_string(),
        ];
        let mut values = values.into_iter();
        VARIABLES.map(|(name, _)| (name, values.next().unwrap_or_default()))
    }

    /// What the command reads on stdin, and the body of the POST: `type`, `timestamp` and `data`, as Standard Webhooks
    /// has it (section "Payload structure").
    pub fn json(&self) -> Value {
        let mode = match self.mode {
            ConnectionMode::Live => "live",
            ConnectionMode::Sandbox => "sandbox",
        };
        if self.status == ALERT {
            return json!({
                "format_version": FORMAT_VERSION,
                "type": format!("alert.{}", self.transition.as_str()),
                "timestamp": self.at.to_string(),
                "data": {
                    "event": self.transition.as_str(), "connection": self.connection, "connector": self.connector,
                    "subject": self.alert_subject, "workspace": self.workspace, "status": self.status,
                    "reason": self.reason,
                },
            });
        }
        if let Some(endpoint) = &self.endpoint {
            return json!({
                "format_version": FORMAT_VERSION,
                "type": "endpoint.disabled",
                "timestamp": self.at.to_string(),
                "data": {
                    "event": self.transition.as_str(), "endpoint": endpoint, "workspace": self.workspace,
                    "status": self.status, "reason": self.reason,
                },
            });
        }
        if let Some(approval) = &self.approval {
            return json!({
                "format_version": FORMAT_VERSION,
                "type": "approval.requested",
                "timestamp": self.at.to_string(),
                "data": {
                    "event": self.transition.as_str(), "approval": approval, "connection": self.connection,
                    "workspace": self.workspace, "status": self.status, "reason": self.reason,
                },
            });
        }
        if let Some(stream) = &self.stream {
            return json!({
                "format_version": FORMAT_VERSION,
                "type": format!("stream.{}", self.transition.as_str()),
                "timestamp": self.at.to_string(),
                "data": {
                    "event": self.transition.as_str(), "connection": self.connection, "stream": stream,
                    "connector": self.connector, "workspace": self.workspace, "mode": mode, "status": self.status,
                    "reason": self.reason,
                },
            });
        }
        json!({
            "format_version": FORMAT_VERSION,
            "type": format!("connection.{}", self.transition.as_str()),
            "timestamp": self.at.to_string(),
            "data": {
                "event": self.transition.as_str(), "connection": self.connection, "connector": self.connector,
                "workspace": self.workspace, "mode": mode, "status": self.status, "reason": self.reason,
            },
        })
    }
}

/// One line without control characters, which an environment can hold and a log can show.
fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(sanitize("a\0b\r\n\u{1b}[31mc\u{9b}"), "a b   [31mc ");
        assert_eq!(sanitize(&"é".repeat(9999)).chars().count(), MAX_REASON_CHARS);
    }

    #[test]
    fn every_variable_is_in_the_json_as_well() {
        let notice = Notification {
            transition: Transition::NeedsReauth,
            connection: "slack@work".to_owned(),
            endpoint: None,
            stream: None,
            approval: None,
            alert_subject: None,
            connector: "slack".to_owned(),
            workspace: "team".to_owned(),
            mode: ConnectionMode::Sandbox,
            status: "needs_reauth",
            reason: Some("invalid_grant".to_owned()),
            at: Timestamp::from_second(1_795_000_000).unwrap(),
        };
        let text = notice.json().to_string();
        insta::assert_snapshot!(text, @r#"{"format_version":1,"type":"connection.needs_reauth","timestamp":"2026-11-18T11:06:40Z","data":{"event":"needs_reauth","connection":"slack@work","connector":"slack","workspace":"team","mode":"sandbox","status":"needs_reauth","reason":"invalid_grant"}}"#);
        for (name, value) in notice.variables().into_iter().filter(|(_, value)| !value.is_empty()) {
            assert!(text.contains(&format!("\"{value}\"")), "{name}");
        }
    }

    #[test]
    fn an_alert_names_its_subject() {
        let key = crate::model::AlertKey { kind: Transition::QueueAge, subject: "inbox".to_owned() };
        let alert = Alert { key, connection: None, reason: "3 wait".to_owned(), is_over_threshold: true };
        let at = Timestamp::from_second(1_795_000_000).unwrap();
        let notice = Notification::alert(&alert, &"team".parse().unwrap(), at);
        assert_eq!(notice.subject(), "inbox");
        insta::assert_snapshot!(notice.json(), @r#"{"format_version":1,"type":"alert.queue_age","timestamp":"2026-11-18T11:06:40Z","data":{"event":"queue_age","connection":"","connector":"","subject":"inbox","workspace":"team","status":"alert","reason":"3 wait"}}"#);
        let alert = Alert { connection: Some("slack@work".parse().unwrap()), ..alert };
        let notice = Notification::alert(&alert, &"team".parse().unwrap(), at);
        assert_eq!((notice.subject(), notice.connector.as_str()), ("slack@work", "slack"));
        assert_eq!(notice.alert_subject, None);
    }
}
