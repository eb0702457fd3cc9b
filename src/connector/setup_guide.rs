//! The setup steps at the vendor before an account can be connected, and the commands to run afterwards. Pure.

use super::{
    AuthMethod, ClientSecretPolicy, Connector, ConnectorError, CredentialField, FieldKind, GrantType, LoopbackHost,
    OAuth2, Param, Redirect,
};

/// The port of the examples, where nothing fixes one.
const EXAMPLE_PORT: u16 = 8910;

/// The path of every redirect URI that the loopback listener answers.
const CALLBACK_PATH: &str = "/callback";

/// How one authentication method is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupGuide {
    pub auth: String,
    pub label: String,
    pub kind: SetupKind,
    /// Where the app is registered or the key is found.
    pub url: Option<String>,
    /// What the vendor is peculiar in.
    pub note: Option<String>,
    pub redirect_uris: Vec<SetupRedirectUri>,
    /// Further things to turn on where the app is registered.
    pub settings: Vec<&'static str>,
    /// The scopes requested by default, with their purposes.
    pub scopes: Vec<(String, Option<String>)>,
    /// What connecting asks for.
    pub prompts: Vec<SetupPrompt>,
    pub commands: Vec<SetupCommand>,
    /// The other authentication methods: name and label.
    pub other_methods: Vec<(String, String)>,
}

/// What the user has to get from the vendor before connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupKind {
    /// An OAuth client is registered.
    App,
    /// A key is made and pasted.
    Key,
}

/// A redirect URI to enter, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupRedirectUri {
    pub uri: String,
    pub when: String,
}

/// A parameter or a credential field that `integ connect` needs from the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupPrompt {
    pub name: String,
    pub prompt: String,
    pub secret: bool,
    /// Read from a file.
    pub is_file: bool,
    /// Not asked for interactively, only given with `--param`.
    pub optional: bool,
    /// What values look like: `starts with sk_ or rk_`.
    pub format_hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupCommand {
    pub command: String,
    pub reason: String,
}

/// The setup of a authentication method, the usual one where none is named. `port` is the loopback port that the user's
/// settings fix.
///
/// # Errors
/// [`ConnectorError::UnknownAuthMethod`].
pub fn setup(connector: &Connector, auth: Option<&str>, port: Option<u16>) -> Result<SetupGuide, ConnectorError> {
    let (name, auth) = connector.auth_method(auth)?;
    let redirect = auth.oauth2.as_ref().map(|rules| &rules.redirect);
    let redirect = redirect.or(auth.fragment.as_ref().map(|fragment| &fragment.redirect));
    let by_browser = auth.fragment.is_some() || has(auth, GrantType::AuthorizationCode);
    let params = connector.params(auth).map(|(name, param)| param_prompt(name, param));
    let fields = auth.fields.iter().map(|(name, field)| field_prompt(name, field));
    let note = auth.note.as_ref().or_else(|| redirect.and_then(|redirect| redirect.note.as_ref()));
    Ok(SetupGuide {
        auth: name.to_owned(),
        label: auth.label.clone(),
        kind: if auth.oauth2.as_ref().map_or(auth.fields.is_empty(), OAuth2::needs_client) {
            SetupKind::App
        } else {
            SetupKind::Key
        },
        url: auth.setup_url.clone(),
        note: note.map(|note| note.trim().to_owned()),
        redirect_uris: redirect.filter(|_| by_browser).map(|redirect| redirects(redirect, port)).unwrap_or_default(),
        settings: settings_to_enable(auth),
        scopes: scopes(connector, auth),
        prompts: params.chain(fields).collect(),
        commands: commands(connector, name, auth, redirect),
        other_methods: connector
            .auth
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(other, auth)| (other.clone(), auth.label.clone()))
            .collect(),
    })
}

fn has(auth: &AuthMethod, grant: GrantType) -> bool {
    auth.oauth2.as_ref().is_some_and(|rules| rules.grants.contains(&grant))
}

fn redirects(redirect: &Redirect, port: Option<u16>) -> Vec<SetupRedirectUri> {
    let entry = |uri: String, when: &str| SetupRedirectUri { uri, when: when.to_owned() };
    let tunnel = |when: &str| {
        let with = format!("connect with --redirect-uri https://HOST{CALLBACK_PATH} --port {EXAMPLE_PORT}");
        entry(
            format!("https://HOST{CALLBACK_PATH}"),
            &format!("{when}: HOST is a tunnel to port {EXAMPLE_PORT} here; {with}"),
        )
    };
    if redirect.https {
        return vec![tunnel("the service accepts only https")];
    }
    let host = match redirect.host {
        LoopbackHost::Address => "127.0.0.1",
        LoopbackHost::Name => "localhost",
    };
    let at = |port: u16| format!("http://{host}:{port}{CALLBACK_PATH}");
    let mut entries = match port.or(redirect.port) {
        Some(port) => vec![entry(at(port), "must match exactly")],
        None => vec![
            entry(format!("http://{host}{CALLBACK_PATH}"), "any port works (RFC 8252 section 7.3)"),
            entry(at(EXAMPLE_PORT), &format!("if the service requires a port, connect with --port {EXAMPLE_PORT}")),
        ],
    };
    entries.push(tunnel("if the service requires https"));
    entries
}

fn settings_to_enable(auth: &AuthMethod) -> Vec<&'static str> {
    let grants = [
        (GrantType::DeviceCode, "the device flow if the service has a switch for it, to connect with --device"),
        (GrantType::ClientCredentials, "client credentials if the service has a switch for them, to act as the app"),
    ];
    grants.into_iter().filter(|(grant, _)| has(auth, *grant)).map(|(_, what)| what).collect()
}

fn scopes(connector: &Connector, auth: &AuthMethod) -> Vec<(String, Option<String>)> {
    let rules = auth.oauth2.as_ref().map(|rules| &rules.scope);
    let Some(rules) = rules.or(auth.fragment.as_ref().map(|fragment| &fragment.scope)) else { return Vec::new() };
    let all = rules.default.iter().chain(&rules.always).chain(rules.also.values().flatten());
    all.map(|scope| (scope.clone(), connector.scopes.get(scope).map(|known| known.purpose().to_owned()))).collect()
}

fn param_prompt(name: &str, param: &Param) -> SetupPrompt {
    let form = if param.choices.is_empty() {
        param.example.as_ref().map(|example| format!("such as {example}"))
    } else {
        Some(format!("one of {}", param.choices.join(", ")))
    };
    let default = param.default.as_ref().map(|default| format!("default: {default}"));
    let form: Vec<String> = form.into_iter().chain(default).collect();
    SetupPrompt {
        name: name.to_owned(),
        prompt: param.prompt.clone(),
        secret: false,
        is_file: false,
        optional: param.optional || param.default.is_some(),
        format_hint: Some(form.join("; ")).filter(|form| !form.is_empty()),
    }
}

fn field_prompt(name: &str, field: &CredentialField) -> SetupPrompt {
    let starts = Some(&field.prefixes).filter(|prefixes| !prefixes.is_empty());
    let starts = starts.map(|prefixes| format!("starts with {}", prefixes.join(" or ")));
    let holds = field.contains.as_ref().map(|part| format!("holds {part:?}"));
    let file = match field.kind {
        FieldKind::Text => None,
        FieldKind::PrivateKey => Some("is a PEM file, not encrypted".to_owned()),
        FieldKind::Certificate => Some("is a PEM file".to_owned()),
        FieldKind::Json => Some("is a JSON file".to_owned()),
    };
    let form: Vec<String> = starts.into_iter().chain(holds).chain(file).collect();
    SetupPrompt {
        name: name.to_owned(),
        prompt: field.prompt.clone(),
        secret: field.secret,
        is_file: field.kind.is_file(),
        optional: false,
        format_hint: Some(form.join(" and ")).filter(|form| !form.is_empty()),
    }
}

fn commands(connector: &Connector, name: &str, auth: &AuthMethod, redirect: Option<&Redirect>) -> Vec<SetupCommand> {
    let id = &connector.id;
    let step = |command: String, why: &str| SetupCommand { command, reason: why.to_owned() };
    let connect = connect(connector, name, auth);
    let mut steps = Vec::new();
    if let Some(rules) = &auth.oauth2 {
        if rules.protected_resource.is_none() && rules.needs_client() {
            steps.push(app_set_command(id, rules));
        }
        if rules.key_grant().is_some() {
            steps.push(step(connect.clone(), "asks for the values, and checks them before they are stored"));
            let given: String = auth.fields.iter().map(|(name, field)| given_field(name, field)).collect();
            steps.push(step(format!("{connect}{given}"), "reads all values from files, for scripts"));
        }
        let tunnel = redirect.is_some_and(|redirect| redirect.https);
        if rules.grants.contains(&GrantType::AuthorizationCode) && tunnel {
            let tunnelled = format!("{connect} --redirect-uri https://HOST{CALLBACK_PATH} --port {EXAMPLE_PORT}");
            steps.push(step(tunnelled, "opens the consent page"));
        } else if rules.grants.contains(&GrantType::AuthorizationCode) {
            steps.push(step(
                connect.clone(),
                "opens the consent page; add --paste if the browser is on another machine",
            ));
        }
        if rules.grants.contains(&GrantType::DeviceCode) {
            steps.push(step(format!("{connect} --device"), "shows a code to enter on another device"));
        }
        if rules.protected_resource.is_some() {
            let own = format!("{connect} --client-id ID");
            steps.push(step(own, "if the server does not register clients automatically"));
        }
        if rules.grants.contains(&GrantType::ClientCredentials) {
            let flag = if rules.grants.len() == 1 { "" } else { " --client-credentials" };
            steps.push(step(format!("{connect}{flag}"), "connects as the app itself, without a user"));
        }
    } else if let Some(fragment) = &auth.fragment {
        if fragment.authorize_params.values().any(|value| value.placeholders().any(|name| name == "client_id")) {
            steps.push(step(format!("integ app set {id} --client-id ID"), "stores the client ID of the app"));
        }
        steps.push(step(connect, "opens the consent page"));
    } else {
        let further = auth.fields.iter().filter(|(field, _)| auth.token_field() != Some(field.as_str()));
        let given: String = further.map(|(name, field)| given_field(name, field)).collect();
        steps.push(step(connect.clone(), "asks for the values; secrets are not shown"));
        steps.push(step(format!("{connect}{given} --with-token < FILE"), "reads the key from a file, for scripts"));
    }
    steps.push(step(format!("integ test {id}"), "checks the connection"));
    steps
}

/// How a field is given to a command.
fn given_field(name: &str, field: &CredentialField) -> String {
    if field.secret || field.kind.is_file() {
        format!(" --param {name}=@FILE")
    } else {
        format!(" --param {name}=VALUE")
    }
}

/// `integ connect` with what it cannot do without.
fn connect(connector: &Connector, name: &str, auth: &AuthMethod) -> String {
    let usual = connector.auth.first().is_some_and(|(first, _)| first == name);
    let mut command = format!("integ connect {}", connector.id);
    if !usual {
        command.push_str(&format!(" --auth {name}"));
    }
    let asked = connector.params(auth).filter(|(_, param)| param.default.is_none() && !param.optional);
    for (name, _) in asked {
        command.push_str(&if name == "issuer" { " --issuer URL".to_owned() } else { format!(" --param {name}=VALUE") });
    }
    command
}

fn app_set_command(id: &str, rules: &OAuth2) -> SetupCommand {
    let set = format!("integ app set {id} --client-id ID");
    if rules.client_auth.uses_key() || (rules.key_grant().is_some() && !rules.sends_client_secret()) {
        return SetupCommand {
            command: set,
            reason: "keeps the id of the app, which has a key and no secret".to_owned(),
        };
    }
    let with_secret = format!("{set} --client-secret-file -");
    let (command, why) = match rules.client_secret {
        ClientSecretPolicy::Required => (with_secret, "stores the app's credentials; the secret is read from stdin"),
        ClientSecretPolicy::Optional => {
            let why = "stores the app's credentials; the secret is read from stdin (omit --client-secret-file if the app \
                       has none)";
            (with_secret, why)
        }
        ClientSecretPolicy::OptionalForDevice => {
            (with_secret, "stores the app's credentials; the secret is read from stdin (the device flow needs none)")
        }
    };
    SetupCommand { command, reason: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{BUILT_IN, parse};
    use super::*;

    fn of(id: &str, auth: Option<&str>) -> SetupGuide {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == id).unwrap();
        setup(&parse(text).unwrap(), auth, None).unwrap()
    }

    fn commands(setup: &SetupGuide) -> Vec<&str> {
        setup.commands.iter().map(|step| step.command.as_str()).collect()
    }

    #[test]
    fn an_app_with_a_fixed_port_is_registered_exactly_so() {
        let slack = of("slack", Some("oauth"));
        assert_eq!(
            (slack.redirect_uris[0].uri.as_str(), slack.redirect_uris[0].when.as_str()),
            ("http://localhost:8910/callback", "must match exactly")
        );
        assert!(slack.scopes.iter().any(|(scope, purpose)| scope == "chat:write" && purpose.is_some()));
        assert_eq!(commands(&slack)[0], "integ app set slack --client-id ID --client-secret-file -");
    }

    #[test]
    fn any_port_means_a_uri_without_one() {
        let github = of("github", Some("oauth"));
        assert_eq!(github.redirect_uris[0].uri, "http://127.0.0.1/callback");
        assert!(commands(&github).iter().any(|command| command.ends_with("--device")));
        assert!(github.settings[0].contains("device flow"));
        let connector = parse(BUILT_IN.iter().find(|(id, _)| *id == "github").unwrap().1).unwrap();
        let fixed = setup(&connector, Some("oauth"), Some(7777)).unwrap();
        assert_eq!(fixed.redirect_uris[0].uri, "http://127.0.0.1:7777/callback");
    }

    #[test]
    fn a_key_says_where_it_is_and_what_it_looks_like() {
        let stripe = of("stripe", Some("key"));
        assert_eq!((stripe.kind, stripe.redirect_uris.len()), (SetupKind::Key, 0));
        assert_eq!(stripe.prompts[0].format_hint.as_deref(), Some("starts with sk_ or rk_"));
        assert!(commands(&stripe).contains(&"integ connect stripe --with-token < FILE"));
        let jira = of("jira", Some("api-token"));
        let script = "integ connect jira --auth api-token --param site=VALUE --param email=VALUE --with-token < FILE";
        assert!(commands(&jira).contains(&script), "{:?}", commands(&jira));
    }

    #[test]
    fn every_way_of_every_connector_can_be_set_up() {
        for (id, text) in BUILT_IN {
            let connector = parse(text).unwrap();
            for name in connector.auth.keys() {
                let setup = setup(&connector, Some(name), None).unwrap();
                assert!(setup.commands.len() >= 2, "{id} {name}");
                let by_browser = has(&connector.auth[name], GrantType::AuthorizationCode);
                assert_eq!(
                    !setup.redirect_uris.is_empty(),
                    by_browser || connector.auth[name].fragment.is_some(),
                    "{id} {name}"
                );
            }
        }
    }
}
