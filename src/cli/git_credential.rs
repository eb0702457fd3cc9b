//! `integ git-credential`.

use std::io::{self, Read};

use clap::Args;

use super::ui::Ui;
use crate::error::Result;
use crate::ops::git_credential::{self, GitCredentialRequest};
use crate::runtime::Workspace;
use crate::view::token::GitCredentialView;

/// Bytes of a question of git's: it has a few lines.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;

/// Give git the token of a connection, as a credential helper
///
/// git starts it, writes a request to its standard input and reads the answer (see gitcredentials(7)). It answers only
/// for hosts of the connection's service. `store` and `erase` do nothing, because integ has the token already.
#[derive(Debug, Args)]
pub(super) struct GitCredentialArgs {
    /// Connection whose token git gets
    #[arg(add = super::complete::connections())]
    pub connection: String,
    /// Operation that git requests: get, store or erase
    pub operation: String,
}

pub(super) fn run(workspace: &Workspace, ui: &Ui, args: &GitCredentialArgs) -> Result<u8> {
    // git asks helpers to ignore operations that they do not know.
    if args.operation != "get" {
        return Ok(0);
    }
    let name = ui.project.resolve(&args.connection)?;
    let mut text = String::new();
    // What is not a text names no host, and gets no answer.
    let _ = io::stdin().lock().take(MAX_REQUEST_BYTES).read_to_string(&mut text);
    if let Some(view) = workspace.run(git_credential::git_credential(workspace, &name, parse_request(&text)))? {
        ui.raw(&answer(&view));
    }
    Ok(0)
}

/// Reads the attributes that matter; of several with one name the last counts.
fn parse_request(text: &str) -> GitCredentialRequest {
    let mut request = GitCredentialRequest::default();
    for (name, value) in text.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once('=')) {
        match name {
            "protocol" => value.clone_into(&mut request.protocol),
            "host" => value.clone_into(&mut request.host),
            "username" => request.username = Some(value.to_owned()),
            _ => {}
        }
    }
    request
}

fn answer(view: &GitCredentialView) -> String {
    let GitCredentialView { protocol, host, username, password, expires_at } = view;
    let password = password.expose();
    let expiry = expires_at.map(|at| format!("password_expiry_utc={at}\n")).unwrap_or_default();
    format!("protocol={protocol}\nhost={host}\nusername={username}\npassword={password}\n{expiry}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_to_its_empty_line() {
        let read =
            parse_request("protocol=https\nhost=a.example:1\nusername=x=y\nwwwauth[]=Basic\n\nhost=evil.example\n");
        let request = GitCredentialRequest {
            protocol: "https".to_owned(),
            host: "a.example:1".to_owned(),
            username: Some("x=y".to_owned()),
        };
        assert_eq!(read, request);
        assert_eq!(parse_request(""), GitCredentialRequest::default());
    }
}
