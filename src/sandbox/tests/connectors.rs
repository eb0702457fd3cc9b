//! The files of the vendors that the tests speak to.

pub(super) const SLACK: &str = include_str!("../../../connectors/slack.toml");

/// JSON token requests, HTTP Basic, rotation, a follow-up call, values in the callback; and a key of two fields.
pub(super) const PROJECTS: &str = r#"
id = "projects"
name = "Projects & Co"
category = "projects"
description = "x"
docs = "https://projects.example"
[params.site]
prompt = "Site"
optional = true
[api]
base = "https://api.projects.example/ex/{cloud_id}"
[auth.oauth]
label = "OAuth"
[auth.oauth.oauth2]
authorize_url = "https://auth.projects.example/authorize"
token_url = "https://auth.projects.example/oauth/token"
token_body = "json"
client_auth = "basic"
client_secret = "required"
pkce = "never"
rotation = "always"
callback_keep = { realm_id = "realmId" }
token_params = { audience = "api" }
[auth.oauth.oauth2.redirect]
host = "localhost"
[auth.oauth.oauth2.scope]
default = ["read"]
[auth.oauth.oauth2.answer]
access_token = "/data/access"
refresh_token = "/data/refresh"
refresh_expires_in = "/data/refresh_expires_in"
lifetime_secs = 7200
keep = { owner_email = "/owner/email", bot_id = "/bot_id" }
[auth.oauth.oauth2.follow_up]
url = "https://api.projects.example/oauth/accessible-resources"
items = "/values"
choose_by = "site"
label = "/name"
keep = { cloud_id = "/id" }
[auth.oauth.oauth2.revoke]
url = "https://auth.projects.example/oauth/revoke"
auth = "basic"
body = "json"
params = { token = "{access_token}" }
[auth.key]
label = "API token"
base = "https://{subdomain}.projects.example"
[auth.key.params.subdomain]
prompt = "Subdomain"
example = "acme"
[auth.key.fields.email]
prompt = "E-mail"
secret = false
contains = "@"
[auth.key.fields.token]
prompt = "Token"
[auth.key.send.basic]
username = "{email}/token"
password = "{token}"
[scopes]
read = "Read <all> \"projects\""
[health]
path = "/rest/myself"
account = { id = "/accountId", name = "/displayName" }
[[errors]]
class = "auth"
status = [401, 403]
[[errors]]
class = "rate_limit"
status = [403]
headers = { "x-remaining" = "0" }
body = { "/reason" = ["tooFast*"] }
[rate]
retry_hints = [{ header = "x-reset", unit = "epoch_seconds" }, { body = "/wait", unit = "milliseconds" }]
"#;

/// A key in the path, as bot vendors have it.
pub(super) const BOTS: &str = r#"
id = "bots"
name = "Bots"
category = "communication"
description = "x"
docs = "https://bots.example"
[api]
base = "https://api.bots.example/bot{token}"
[auth.bot]
label = "Bot token"
[auth.bot.fields.token]
prompt = "Token"
contains = ":"
[auth.bot.send]
[health]
path = "/getMe"
success = { "/ok" = true }
account = { id = "/result/id", name = "/result/username" }
[[errors]]
class = "auth"
status = [401, 404]
"#;

/// Any OpenID server.
pub(super) const OIDC: &str = r#"
id = "any-oidc"
name = "OpenID"
category = "generic"
description = "x"
docs = "https://openid.net"
[params.issuer]
prompt = "Issuer"
example = "https://login.example.com"
[auth.oauth]
label = "OpenID Connect"
[auth.oauth.oauth2]
grants = ["authorization_code", "device_code", "client_credentials"]
issuer = "{issuer}"
rotation = "never"
[auth.oauth.oauth2.redirect]
host = "localhost"
[auth.oauth.oauth2.scope]
default = ["openid", "offline_access"]
[health]
path = "{userinfo_endpoint}"
account = { id = "/sub", name = "/name" }
"#;

/// Form answers unless JSON is asked for, a device grant for public clients, and DELETE to revoke.
pub(super) const CODE_HOST: &str = r#"
id = "code-host"
name = "Code host"
category = "developer"
description = "x"
docs = "https://code.example"
[api]
base = "https://api.code.example"
[auth.oauth]
label = "OAuth"
[auth.oauth.oauth2]
grants = ["authorization_code", "device_code"]
authorize_url = "https://code.example/login/oauth/authorize"
token_url = "https://code.example/login/oauth/access_token"
device_url = "https://code.example/login/device/code"
client_auth = "post"
client_secret = "optional_for_device"
token_headers = { accept = "application/json" }
[auth.oauth.oauth2.redirect]
host = "localhost"
[auth.oauth.oauth2.scope]
answer_separator = ","
[auth.oauth.oauth2.revoke]
url = "https://api.code.example/applications/{client_id}/grant"
method = "DELETE"
auth = "basic"
body = "json"
params = { access_token = "{access_token}" }
[scopes]
repo = "Read and write repositories"
hidden = { purpose = "x", unreported = true }
long = { purpose = "x", reported_as = "l" }
[health]
path = "/user"
account = { id = "/id", name = "/login" }
scopes_header = "x-oauth-scopes"
"#;

/// A token in the redirect's fragment, sent in the query.
pub(super) const BOARDS: &str = r#"
id = "boards"
name = "Boards"
category = "projects"
description = "x"
docs = "https://boards.example"
[api]
base = "https://api.boards.example/1"
[auth.token]
label = "Token"
[auth.token.fragment]
authorize_url = "https://boards.example/1/authorize"
authorize_params = { key = "{client_id}", response_type = "token" }
redirect_param = "return_url"
token = "token"
[auth.token.fragment.scope]
separator = ","
[auth.token.send]
query = { key = "{client_id}", token = "{access_token}" }
[health]
path = "/members/me"
account = { id = "/id" }
"#;
