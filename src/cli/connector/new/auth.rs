//! The authentication method of a draft.

use super::prompts::needed;
use super::{AuthMethodArg, NewArgs, Ui};
use url::Url;

use crate::cli::terminal::Terminal;
use crate::connect::{PromptError, Prompter};
use crate::connector::{
    ClientAuth, ConnectorDraft, DraftAuth, DraftAuthKind, DraftField, DraftHealth, DraftOAuth2, sentence,
};
use crate::error::Result;
use crate::http::Route;
use crate::oauth::{ServerMetadata, discovery};
use crate::runtime::{Workspace, route_to};

const AUTH_METHODS: [(AuthMethodArg, &str); 5] = [
    (AuthMethodArg::Bearer, "a key as Authorization: Bearer"),
    (AuthMethodArg::Header, "a key in a header of its own"),
    (AuthMethodArg::Query, "a key in the query"),
    (AuthMethodArg::Basic, "name and password (HTTP Basic)"),
    (AuthMethodArg::Oauth2, "OAuth 2.0"),
];

/// The scopes of OpenID Connect and what they are for (Core 1.0 sections 5.4 and 11).
const OPENID: [(&str, &str); 6] = [
    ("openid", "Tell who the user is"),
    ("profile", "Read name and picture"),
    ("email", "Read the e-mail address"),
    ("offline_access", "Stay connected: get a refresh token"),
    ("address", "Read the postal address"),
    ("phone", "Read the telephone number"),
];

/// Scopes of OpenID Connect that are asked for by default where the server lists them.
const USUAL: usize = 4;

/// # Errors
/// [`PromptError`], and those of discovery.
pub(super) fn fill(workspace: &Workspace, ui: &Ui, args: &NewArgs, draft: &mut ConnectorDraft) -> Result<()> {
    let terminal = ui.terminal();
    let Some(way) = chosen(args, &terminal, !draft.auth.is_empty())? else {
        for way in &mut draft.auth {
            way.setup_url = way.setup_url.take().or_else(|| args.setup_url.clone());
        }
        return Ok(());
    };
    let kind = match way {
        AuthMethodArg::Bearer => key(args, "Token", Vec::new(), Vec::new()),
        AuthMethodArg::Header => {
            let header = match &args.header {
                Some(header) => header.clone(),
                None => needed(&terminal, "Header", "--header NAME", "X-API-Key")?,
            };
            key(args, "API key", vec![(header, "{key}".to_owned())], Vec::new())
        }
        AuthMethodArg::Query => {
            let parameter = match &args.parameter {
                Some(parameter) => parameter.clone(),
                None => needed(&terminal, "Query parameter", "--parameter NAME", "api_key")?,
            };
            key(args, "API key", Vec::new(), vec![(parameter, "{key}".to_owned())])
        }
        AuthMethodArg::Basic => DraftAuthKind::basic(),
        AuthMethodArg::Oauth2 => DraftAuthKind::OAuth2(Box::new(oauth2(workspace, args, &terminal, draft)?)),
    };
    let (name, label) = match way {
        AuthMethodArg::Bearer => ("token", "Token"),
        AuthMethodArg::Header | AuthMethodArg::Query => ("key", "API key"),
        AuthMethodArg::Basic => ("basic", "Name and password (HTTP Basic)"),
        AuthMethodArg::Oauth2 => ("oauth", "OAuth"),
    };
    let setup_url = match &args.setup_url {
        Some(url) => url.clone(),
        None => terminal.line_or("Where users find the key or register the app (empty if unknown)", "")?,
    };
    let setup_url = Some(setup_url).filter(|url| !url.is_empty());
    draft.auth = vec![DraftAuth { name: name.to_owned(), label: label.to_owned(), setup_url, kind }];
    Ok(())
}

/// What the flags say or imply, else what the user chooses; absent if a description has it.
fn chosen(args: &NewArgs, terminal: &Terminal, described: bool) -> Result<Option<AuthMethodArg>, PromptError> {
    let oauth2 = [&args.issuer, &args.authorize_url, &args.token_url, &args.device_url];
    let implied = if args.auth.is_some() {
        args.auth
    } else if oauth2.into_iter().any(Option::is_some) {
        Some(AuthMethodArg::Oauth2)
    } else if args.header.is_some() {
        Some(AuthMethodArg::Header)
    } else if args.parameter.is_some() {
        Some(AuthMethodArg::Query)
    } else {
        None
    };
    if implied.is_some() || described {
        return Ok(implied);
    }
    if !terminal.interactive {
        let prompt = "the way of authenticating".to_owned();
        return Err(PromptError::NoTerminal { prompt, missing: "--auth bearer|header|query|basic|oauth2".to_owned() });
    }
    let labels: Vec<String> = AUTH_METHODS.iter().map(|(_, label)| (*label).to_owned()).collect();
    Ok(Some(AUTH_METHODS[terminal.select("How do requests carry the credentials?", &labels)?].0))
}

fn key(args: &NewArgs, prompt: &str, headers: Vec<(String, String)>, query: Vec<(String, String)>) -> DraftAuthKind {
    let name = if headers.is_empty() && query.is_empty() { "token" } else { "key" };
    let prefixes = args.prefixes.clone();
    let field = DraftField { name: name.to_owned(), prompt: prompt.to_owned(), secret: true, prefixes };
    DraftAuthKind::ApiKey { fields: vec![field], headers, query, basic: false }
}

fn oauth2(
    workspace: &Workspace,
    args: &NewArgs,
    terminal: &Terminal,
    draft: &mut ConnectorDraft,
) -> Result<DraftOAuth2> {
    let mut oauth2 = match &args.issuer {
        Some(issuer) => {
            let route = Url::parse(issuer).map_or(Route::Live, |url| route_to(&url));
            let asked = async {
                Ok(discovery::discover(&workspace.engine.http, &route, issuer, ServerMetadata::default()).await?)
            };
            discovered(&workspace.run(asked)?, draft)
        }
        None => DraftOAuth2::default(),
    };
    let known = oauth2.issuer.is_some();
    let ask = |given: &Option<String>, prompt: &str, flag: &str| match given {
        Some(url) => Ok(Some(url.clone())),
        None if known => Ok(None),
        None => needed(terminal, prompt, flag, "").map(Some),
    };
    if args.device_url.is_none() || args.authorize_url.is_some() || terminal.interactive {
        oauth2.authorize_url = ask(&args.authorize_url, "Authorization URL", "--authorize-url URL")?;
    }
    oauth2.token_url = ask(&args.token_url, "Token URL", "--token-url URL")?;
    oauth2.device_url.clone_from(&args.device_url);
    oauth2.revoke_url.clone_from(&args.revoke_url);
    if !known {
        oauth2.grants.extend(oauth2.authorize_url.is_some().then_some("authorization_code"));
    }
    if args.device_url.is_some() && !oauth2.grants.contains(&"device_code") {
        oauth2.grants.push("device_code");
    }
    Ok(oauth2)
}

/// The file names the issuer, which integ asks for the endpoints at every sign-in: they may move, and `iss` is checked.
fn discovered(endpoints: &ServerMetadata, draft: &mut ConnectorDraft) -> DraftOAuth2 {
    let named = [
        ("authorize", &endpoints.authorization_endpoint),
        ("token", &endpoints.token_endpoint),
        ("device", &endpoints.device_authorization_endpoint),
        ("revoke", &endpoints.revocation_endpoint),
        ("userinfo", &endpoints.userinfo_endpoint),
    ];
    let found = named.iter().filter_map(|(what, url)| Some(format!("{what} {}", url.as_ref()?)));
    let purpose = |scope: &str| OPENID.iter().find(|(known, _)| *known == scope).map(|(_, purpose)| *purpose);
    for scope in &endpoints.scopes_supported {
        if !draft.scopes.iter().any(|(known, _)| known == scope) {
            draft.scopes.push((scope.clone(), purpose(scope).map_or_else(|| sentence(scope), str::to_owned)));
        }
    }
    if endpoints.userinfo_endpoint.is_some() && draft.health.is_none() {
        draft.health = Some(DraftHealth {
            path: "{userinfo_endpoint}".to_owned(),
            account_id: Some("/sub".to_owned()),
            account_name: Some("/email".to_owned()),
        });
    }
    let usual = OPENID[..USUAL].iter().map(|(scope, _)| (*scope).to_owned());
    let mut grants = Vec::new();
    grants.extend(endpoints.authorization_endpoint.is_some().then_some("authorization_code"));
    grants.extend(endpoints.device_authorization_endpoint.is_some().then_some("device_code"));
    DraftOAuth2 {
        grants,
        issuer: endpoints.issuer.clone(),
        client_auth_post: endpoints.client_auth == Some(ClientAuth::Post),
        default_scopes: usual.filter(|scope| endpoints.scopes_supported.contains(scope)).collect(),
        discovered: found.collect(),
        ..DraftOAuth2::default()
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_server_that_publishes_itself_needs_no_more_than_its_issuer() {
        let url = |path: &str| Some(Url::parse(&format!("https://login.acme.example{path}")).unwrap());
        let endpoints = ServerMetadata {
            issuer: Some("https://login.acme.example".to_owned()),
            authorization_endpoint: url("/authorize"),
            token_endpoint: url("/token"),
            device_authorization_endpoint: url("/device"),
            userinfo_endpoint: url("/me"),
            client_auth: Some(ClientAuth::Post),
            scopes_supported: ["openid", "email", "offline_access", "cards.read"].map(str::to_owned).into(),
            ..ServerMetadata::default()
        };
        let mut draft = ConnectorDraft {
            id: "acme".to_owned(),
            name: "Acme".to_owned(),
            category: "generic".to_owned(),
            description: "x".to_owned(),
            docs: "https://acme.example".to_owned(),
            ..ConnectorDraft::default()
        };
        let oauth2 = discovered(&endpoints, &mut draft);
        draft.auth.push(DraftAuth {
            name: "oauth".to_owned(),
            label: "OAuth".to_owned(),
            setup_url: None,
            kind: DraftAuthKind::OAuth2(Box::new(oauth2)),
        });
        let file = draft.to_toml().unwrap();
        let (_, way) = file.split_once("\n\n").unwrap();
        insta::assert_snapshot!(way, @r#"
        [auth.oauth]
        label = "OAuth"

        # What the issuer publishes, which integ asks for by itself:
        #   authorize https://login.acme.example/authorize
        #   token https://login.acme.example/token
        #   device https://login.acme.example/device
        #   userinfo https://login.acme.example/me
        [auth.oauth.oauth2]
        grants = ["authorization_code", "device_code"]
        issuer = "https://login.acme.example"
        client_auth = "post"
        scope = { default = ["openid", "email", "offline_access"] }

        [scopes]
        openid = "Tell who the user is"
        email = "Read the e-mail address"
        offline_access = "Stay connected: get a refresh token"
        "cards.read" = "Cards read"

        [health]
        path = "{userinfo_endpoint}"
        account = { id = "/sub", name = "/email" }
        "#);
    }
}
