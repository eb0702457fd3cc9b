//! An emulated MCP server: it describes itself (RFC 9728), registers clients (RFC 7591), and has two tools.

use serde_json::{Value, json};
use url::Url;

use super::credential::CredentialError;
use super::message::{RequestParams, SandboxResponse};
use super::response::OAuthErrorResponse;
use super::state::SandboxState;
use super::token::digest;
use super::vendor_emulator::{RequestContext, VendorEmulator};
use crate::connector::HealthProtocol;
use crate::model::{
    MCP_HEADER_MISMATCH, MCP_META_REVISION, MCP_META_SERVER, MCP_SESSION_REVISIONS, MCP_STATELESS_REVISION,
    MCP_UNSUPPORTED_REVISION,
};

/// Where the resource's metadata is, before the resource's own path.
pub(super) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

/// How the ids of registered clients begin.
const CLIENT_PREFIX: &str = "sandbox-registered-";

/// More than any client needs, and few enough for an id.
const MAX_REDIRECT_URIS: usize = 10;

impl VendorEmulator {
    pub(super) fn speaks_mcp(&self) -> bool {
        self.connector.health(&self.auth).is_some_and(|health| health.protocol == HealthProtocol::Mcp)
    }

    /// The identifier of the resource, as its users write it.
    fn resource(&self) -> Option<String> {
        let template = self.auth.oauth2.as_ref()?.protected_resource.as_ref()?;
        template.fill(&self.values()).ok()
    }

    pub(super) fn resource_metadata(&self) -> SandboxResponse {
        let (Some(resource), Some(issuer)) = (self.resource(), self.issuer()) else {
            return SandboxResponse::json(404, &json!({ "error": "not_found" }));
        };
        let document = json!({
            "resource": resource,
            "authorization_servers": [issuer],
            "scopes_supported": ["tools"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Sandbox",
        });
        SandboxResponse::json(200, &document)
    }

    /// Tokens are for this resource and no other (RFC 8707 section 2).
    pub(super) fn check_resource(&self, params: &RequestParams) -> Result<(), OAuthErrorResponse> {
        match (self.resource(), params.get("resource")) {
            (Some(own), Some(asked)) if own != asked => {
                Err(OAuthErrorResponse::new("invalid_target", "unknown resource"))
            }
            _ => Ok(()),
        }
    }

    /// Registers a client without a secret. What it registered is in its id alone, so that nothing has to be kept.
    pub(super) fn register_client(&self, visit: &RequestContext<'_>) -> SandboxResponse {
        let refused = |code: &str, why: &str| {
            SandboxResponse::json(400, &json!({ "error": code, "error_description": format!("sandbox: {why}") }))
        };
        let Ok(Value::Object(asked)) = serde_json::from_slice(&visit.request.body) else {
            return refused("invalid_client_metadata", "the body is a JSON object");
        };
        let uris = asked.get("redirect_uris").and_then(Value::as_array).filter(|uris| !uris.is_empty());
        let is_uri = |uri: &Value| uri.as_str().is_some_and(|uri| Url::parse(uri).is_ok());
        let Some(uris) = uris.filter(|uris| uris.len() <= MAX_REDIRECT_URIS && uris.iter().all(is_uri)) else {
            return refused("invalid_redirect_uri", "redirect_uris lists one to ten URLs");
        };
        let parts: Vec<String> = uris.iter().filter_map(Value::as_str).map(id_part).collect();
        let mut answer = asked.clone();
        answer.insert("client_id".to_owned(), Value::from(format!("{CLIENT_PREFIX}{}", parts.join("."))));
        answer.insert("client_id_issued_at".to_owned(), Value::from(visit.now));
        answer.insert("token_endpoint_auth_method".to_owned(), Value::from("none"));
        SandboxResponse::json(201, &Value::Object(answer))
    }

    /// Whether a client may be redirected to: one that was registered here has said so. Any other client may: the sandbox knows
    /// none.
    pub(super) fn is_registered(&self, params: &RequestParams) -> bool {
        let id = params.get("client_id").and_then(|id| id.strip_prefix(CLIENT_PREFIX)).filter(|_| self.speaks_mcp());
        let uri = params.get("redirect_uri").unwrap_or_default();
        id.is_none_or(|id| id.split('.').any(|part| part == id_part(uri)))
    }

    /// Answers one message of the protocol, for those who show a good token.
    pub(super) fn mcp(&self, visit: &RequestContext<'_>, state: &mut SandboxState) -> SandboxResponse {
        if let Err(why) = self.credential(visit, state) {
            let metadata = self.resource().and_then(|resource| metadata_url(&resource)).unwrap_or_default();
            let error = if why == CredentialError::Missing { "" } else { "error=\"invalid_token\", " };
            let challenge = format!("Bearer {error}resource_metadata=\"{metadata}\", scope=\"tools\"");
            let mut refusal = self.reject_credential(why);
            refusal.headers.retain(|(name, _)| name != "www-authenticate");
            return refusal.with_header("www-authenticate", &challenge);
        }
        let Ok(message @ Value::Object(_)) = serde_json::from_slice(&visit.request.body) else {
            return rpc_error(&Value::Null, -32700, "the body is one JSON-RPC message");
        };
        let Some(id) = message.get("id") else { return SandboxResponse::empty(202) };
        let params = message.get("params").unwrap_or(&Value::Null);
        if let Err(refusal) = check_revision(visit, &message) {
            return refusal;
        }
        let result = match message.get("method").and_then(Value::as_str) {
            Some("server/discover") => discovered(),
            Some("initialize") => initialized(params),
            Some("ping") => json!({}),
            Some("tools/list") => json!({ "tools": tools() }),
            Some("tools/call") => match call(params) {
                Ok(text) => json!({ "content": [{ "type": "text", "text": text }], "isError": false }),
                Err(why) => return rpc_error(id, -32602, why),
            },
            _ => return rpc_error(id, -32601, "Method not found"),
        };
        SandboxResponse::json(200, &json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }
}

/// What the id of a registered client says of a redirect URI.
fn id_part(uri: &str) -> String {
    digest(uri).chars().take(22).collect()
}

fn metadata_url(resource: &str) -> Option<String> {
    let mut url = Url::parse(resource).ok()?;
    url.set_path(&format!("{METADATA_PATH}{}", url.path().trim_end_matches('/')));
    Some(url.to_string())
}

/// A request that names its revision is of the revision without sessions: its headers say the same as its body.
fn check_revision(visit: &RequestContext<'_>, message: &Value) -> Result<(), SandboxResponse> {
    let id = message.get("id").unwrap_or(&Value::Null);
    let meta = message.pointer("/params/_meta");
    let Some(revision) = meta.and_then(|meta| meta.get(MCP_META_REVISION)).and_then(Value::as_str) else {
        return Ok(());
    };
    let refused = |error: Value| SandboxResponse::json(400, &json!({ "jsonrpc": "2.0", "id": id, "error": error }));
    let method = message.get("method").and_then(Value::as_str);
    let header = |name: &str| visit.request.header(name);
    if header("mcp-protocol-version") != Some(revision) || header("mcp-method") != method {
        let message = "Mcp-Protocol-Version and Mcp-Method say what the body says";
        return Err(refused(json!({ "code": MCP_HEADER_MISMATCH, "message": message })));
    }
    if revision != MCP_STATELESS_REVISION {
        let supported: Vec<&str> = std::iter::once(MCP_STATELESS_REVISION).chain(MCP_SESSION_REVISIONS).collect();
        return Err(refused(json!({ "code": MCP_UNSUPPORTED_REVISION, "message": "Unsupported protocol version",
            "data": { "supported": supported, "requested": revision } })));
    }
    Ok(())
}

fn discovered() -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": [MCP_STATELESS_REVISION],
        "capabilities": { "tools": {} },
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { MCP_META_SERVER: server_info() },
    })
}

fn server_info() -> Value {
    json!({ "name": "Sandbox", "version": env!("CARGO_PKG_VERSION") })
}

fn initialized(params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
    // A revision that is not known is answered with the newest that is.
    let revision = MCP_SESSION_REVISIONS.iter().find(|known| **known == asked).unwrap_or(&MCP_SESSION_REVISIONS[0]);
    json!({
        "protocolVersion": revision,
        "capabilities": { "tools": {} },
        "serverInfo": server_info(),
    })
}

fn tools() -> Value {
    let text = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
    json!([
        { "name": "echo", "description": "Return a text", "inputSchema": text, "annotations": { "readOnlyHint": true } },
        { "name": "count", "description": "Count the characters of a text", "inputSchema": text,
            "annotations": { "readOnlyHint": true } },
    ])
}

fn call(params: &Value) -> Result<String, &'static str> {
    let text = params.pointer("/arguments/text").and_then(Value::as_str).ok_or("text is missing")?;
    match params.get("name").and_then(Value::as_str) {
        Some("echo") => Ok(text.to_owned()),
        Some("count") => Ok(text.chars().count().to_string()),
        _ => Err("Unknown tool"),
    }
}

fn rpc_error(id: &Value, code: i64, message: &str) -> SandboxResponse {
    let error = json!({ "code": code, "message": message });
    SandboxResponse::json(200, &json!({ "jsonrpc": "2.0", "id": id, "error": error }))
}
