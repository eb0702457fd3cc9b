//! Renders API tokens as text.

use crate::cli::table::{TableCell, count, relative, remove_spare, table, table_of_numbers};
use crate::cli::ui::{Render, Tone, Ui, escape};
use crate::clock::Timestamp;
use crate::model::{ApiTokenStatus, ApprovalPolicy, ConnectionName};
use crate::view::api_token::{
    ApiScopeListView, ApiTokenListView, ApiTokenUsageView, ApiTokenView, NewApiTokenView, RevokedApiTokensView,
};

fn words<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn since(at: Timestamp, as_of: Timestamp) -> String {
    relative(at.as_second() - as_of.as_second())
}

fn status_cell(token: &ApiTokenView) -> TableCell {
    let tone = match token.status {
        ApiTokenStatus::Active => Tone::Good,
        ApiTokenStatus::Expiring => Tone::Warn,
        ApiTokenStatus::Expired | ApiTokenStatus::Disabled => Tone::Bad,
    };
    TableCell(token.status.to_string(), Some(tone))
}

fn connections(names: Option<&Vec<ConnectionName>>) -> String {
    match names {
        None => "all".to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => words(names),
    }
}

/// What a person should do about a token soon.
pub(super) fn reminder(token: &ApiTokenView) -> Option<String> {
    match token.status {
        ApiTokenStatus::Expiring => Some(format!("expires {}", since(token.expires_at, token.as_of))),
        ApiTokenStatus::Expired => Some(format!("ended {}", since(token.expires_at, token.as_of))),
        ApiTokenStatus::Active | ApiTokenStatus::Disabled => {
            token.is_rotation_due().then(|| "is due for rotation".to_owned())
        }
    }
}

/// What revoking a token ends.
pub(super) fn revocation(preview: &RevokedApiTokensView) -> String {
    let mut names = preview.revoked.iter().map(|token| escape(token.name.as_str()));
    let first = names.next().unwrap_or_default();
    let others: Vec<String> = names.collect();
    match others.as_slice() {
        [] => format!("Revoking {first} ends its access at once."),
        others => format!(
            "Revoking {first} ends its access at once, and revokes {} that it led to: {}.",
            count(others.len(), "token"),
            others.join(", ")
        ),
    }
}

impl Render for ApiTokenListView {
    fn text(&self, ui: &Ui) -> String {
        if self.tokens.is_empty() {
            return "No API tokens yet. `integ api-token create NAME --scope read:*` creates one.".to_owned();
        }
        let row = |token: &ApiTokenView| {
            let last = token.last_used_at.map_or_else(|| "never".to_owned(), |at| since(at, token.as_of));
            vec![
                token.name.to_string().into(),
                token.id.to_string().into(),
                words(&token.scopes).into(),
                connections(token.connections.as_ref()).into(),
                token.tier.as_str().into(),
                status_cell(token),
                since(token.expires_at, token.as_of).into(),
                last.into(),
            ]
        };
        let mut headings = vec!["name", "id", "scopes", "connections", "tier", "status", "expires", "last used"];
        let mut rows: Vec<Vec<TableCell>> = self.tokens.iter().map(row).collect();
        remove_spare(ui, &mut headings, &mut rows, &["last used", "tier", "connections", "scopes"]);
        table(ui, &headings, rows)
    }
}

impl Render for ApiTokenView {
    fn text(&self, ui: &Ui) -> String {
        let mut rows: Vec<Vec<TableCell>> = vec![
            vec!["id".into(), self.id.to_string().into()],
            vec!["name".into(), self.name.to_string().into()],
            vec!["status".into(), status_cell(self)],
            vec!["scopes".into(), words(&self.scopes).into()],
            vec!["connections".into(), connections(self.connections.as_ref()).into()],
            vec!["tier".into(), self.tier.as_str().into()],
            vec!["created at".into(), self.created_at.to_string().into()],
            vec!["expires at".into(), self.expires_at.to_string().into()],
        ];
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let optional = [
            ("rotated at", text(Some(self.rotated_at).filter(|at| *at != self.created_at))),
            ("rotation due at", text(self.rotation_due_at)),
            ("last used at", text(self.last_used_at)),
            ("user", self.user.as_ref().map(ToString::to_string)),
            ("needs approval", Some(self.approve.to_string()).filter(|_| self.approve != ApprovalPolicy::None)),
            ("trust", self.trust.as_ref().map(ToString::to_string)),
            ("created by", self.created_by.as_ref().map(ToString::to_string)),
        ];
        for (name, value) in optional {
            rows.extend(value.map(|value| vec![name.into(), value.into()]));
        }
        table(ui, &["property", "value"], rows)
    }
}

/// The token alone, so that a script can store it.
impl Render for NewApiTokenView {
    fn text(&self, _ui: &Ui) -> String {
        self.text.expose().clone()
    }
}

impl Render for RevokedApiTokensView {
    fn text(&self, _ui: &Ui) -> String {
        let revoked =
            self.revoked.iter().map(|token| format!("Revoked {} ({})", escape(token.name.as_str()), token.id));
        revoked.collect::<Vec<_>>().join("\n")
    }
}

impl Render for ApiScopeListView {
    fn text(&self, ui: &Ui) -> String {
        let scopes = self.scopes.iter().chain(&self.groups);
        let rows = scopes.map(|one| vec![one.scope.to_string().into(), one.description.clone().into()]);
        table(ui, &["scope", "allows"], rows.collect())
    }
}

impl Render for ApiTokenUsageView {
    fn text(&self, ui: &Ui) -> String {
        if self.counts.is_empty() {
            return format!("{} was not used since {}.", self.name, self.since);
        }
        let rows = self.counts.iter().map(|one| {
            vec![
                one.day.to_string().into(),
                one.operation.clone().into(),
                one.outcome.as_str().into(),
                one.count.to_string().into(),
            ]
        });
        let rows = table_of_numbers(ui, &["day", "operation", "outcome", "requests"], rows.collect(), 3..4);
        format!("{rows}\n{} since {}", count(self.requests, "request"), self.since)
    }
}
