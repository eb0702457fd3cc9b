//! The calls of the API that the connector's file describes: the health check and the follow-up.

use serde_json::{Value, json};

use super::account::SandboxAccount;
use super::credential::{AcceptedCredential, CredentialError};
use super::message::SandboxResponse;
use super::state::{SandboxState, merge_json};
use super::vendor_emulator::{RequestContext, VendorEmulator, success_document};

impl VendorEmulator {
    pub(super) fn health(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let credential = match self.credential(visit, state) {
            Ok(credential) => credential,
            Err(why) => return self.reject_credential(why),
        };
        let account = self.account_of(visit, credential.account());
        let health = self.connector.health(&self.auth);
        let mut document = success_document(&self.success(), true);
        if visit.request.path == "/userinfo" {
            // The claims of OpenID Connect Core section 5.1 that identify a person.
            document = json!({"name": account.name(), "email": account.email()});
        }
        if let Some(health) = health {
            merge_json(&mut document, &account.health_document(health));
        }
        let reply = SandboxResponse::json(200, &document);
        match (health.and_then(|health| health.scopes_header.as_ref()), credential, &self.auth.oauth2) {
            (Some(header), AcceptedCredential::Token(claims), Some(oauth2)) => {
                reply.with_header(header, &self.reported_scopes(oauth2, &claims.scopes))
            }
            _ => reply,
        }
    }

    /// The second account's calls name it in their path.
    fn account_of(&self, visit: &RequestContext<'_>, account: &SandboxAccount) -> SandboxAccount {
        let follow_up = self.auth.oauth2.as_ref().and_then(|oauth2| oauth2.follow_up.as_ref());
        let second = |name: &String| {
            let value = visit.path_params.get(name);
            value.is_some_and(|value| *value == account.second().metadata_value(&self.connector, &self.auth, name))
        };
        let names_second = follow_up.is_some_and(|follow_up| follow_up.keep.keys().any(second));
        if names_second { account.second() } else { account.clone() }
    }

    /// One account, or two where the consent covers a second or the connection's parameters say which one to take.
    pub(super) fn follow_up(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        let credential = match self.credential(visit, state) {
            Ok(credential) => credential,
            Err(why) => return self.reject_credential(why),
        };
        let Some(follow_up) = self.auth.oauth2.as_ref().and_then(|oauth2| oauth2.follow_up.as_ref()) else {
            return self.other(visit, state);
        };
        let consented = matches!(&credential, AcceptedCredential::Token(claims) if claims.several);
        let mut accounts = vec![credential.account().clone()];
        if consented || self.params.contains_key(&follow_up.choose_by) {
            accounts.push(credential.account().second());
        }
        let items: Vec<Value> = accounts
            .iter()
            .map(|account| {
                let mut item = json!({});
                for (name, pointer) in &follow_up.keep {
                    pointer.set(&mut item, json!(account.metadata_value(&self.connector, &self.auth, name)));
                }
                if follow_up.label.find(&item).is_none() {
                    follow_up.label.set(&mut item, json!(account.name()));
                }
                item
            })
            .collect();
        let mut document = Value::Array(items);
        if let Some(pointer) = &follow_up.items {
            let list = document;
            document = json!({});
            pointer.set(&mut document, list);
        }
        SandboxResponse::json(200, &document)
    }

    /// A call that the file does not describe: nothing is known of its answer, but a bad credential is refused first.
    pub(super) fn other(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        match self.credential(visit, state) {
            Err(why) if why != CredentialError::Missing => self.reject_credential(why),
            _ => SandboxResponse::json(
                404,
                &json!({"error": "not_found", "error_description": "sandbox: the connector's file describes no such call"}),
            ),
        }
    }
}
