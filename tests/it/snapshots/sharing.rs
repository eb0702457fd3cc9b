//! Sessions of what the server shares with others: API tokens, connect links, users, consents and the audit log.

use super::session::session;

#[test]
fn api_tokens() {
    session(
        "api_tokens",
        |_| {},
        ". connect slack --sandbox
        api-token list
        api-token create ci --scope connections:read --scope sync:write
        api-token create app --scope read:* --connection slack --user u_17 --tier pro --expires 90d --rotate-after 30d
        api-token create ci --scope read:*
        api-token create x --scope connection:read
        api-token create x --scope vault:read
        api-token create x --scope read:* --expires never
        api-token create x --scope read:* --expires 1827d
        api-token create x --scope read:* --connection stripe
        api-token create tok_x --scope read:*
        ~ api-token list
        api-token show app
        api-token show nobody
        api-token scopes
        api-token update ci --name build --scope read:* --rotate-after 90d
        api-token update build --disable
        ~ api-token list
        tick
        api-token rotate app
        api-token rotate app --grace 1h --expires 30d
        api-token rotate app --expires 252h
        ~ api-token show app
        ~ api-token list
        api-token usage app --since 2026-01-01
        api-token usage app --since soon
        . disconnect slack --yes
        api-token show app
        api-token update app --enable
        api-token revoke app
        api-token revoke app --yes
        api-token revoke app --yes",
    );
}

#[test]
fn connect_links() {
    session(
        "connect_links",
        |_| {},
        "connect-link list
        connect-link create slack
        . config set serve.public_url https://integ.example
        . config set serve.return_origins https://app.example
        connect-link create slack@work --sandbox --scope chat:write,users:read
        connect-link create gitlab --user u_17 --param instance=gitlab.com --return-to https://app.example/done --popup
        let link = connect-link list --jq '.connect_links[]|select(.connector==\"gitlab\")|.connect_link'
        connect-link revoke {link}
        connect-link revoke {link}
        connect-link revoke cnl_0011223344556677
        connect-link create slack --expires 30d
        connect-link create slack --return-to https://evil.example/",
    );
}

#[test]
fn users() {
    session(
        "users",
        |_| {},
        "user list
        consent status
        . connect slack --sandbox --user u_1
        . connect stripe --sandbox
        . connect hubspot --sandbox --user u_2
        . link add customer/42 hubspot/contacts 1500017
        let CONSENT = consent grant u_1 sync --resource slack --description Messages --jq .granted.id
        consent grant u_1 analytics --type data_sharing --policy-version 2
        consent grant u_2 call --resource connector:hubspot
        consent grant u_1 sync --resource 'a b:1'
        consent list --user u_1
        . config set consents.required sync
        . config set consents.policy_version 2
        consent status
        consent status u_1
        sync slack/users
        sync hubspot/contacts
        consent revoke {CONSENT}
        consent revoke cns_1
        consent revoke --user u_2 --purpose call
        consent revoke --user u_2
        user list
        user show u_1
        user show u_3
        records --user u_1
        job list --user u_1
        webhook events --user u_1
        link list --user u_2
        user delete u_2 --yes
        user delete u_2 --yes
        ~ status",
    );
}

#[test]
fn audit() {
    session(
        "audit",
        |_| {},
        "audit list
        . connect slack --sandbox --user u_1
        . consent grant u_1 call
        . call slack chat.postMessage channel=C024BE91L text=Hello
        disconnect slak --yes
        . disconnect slack --yes
        ~ audit list
        ~ audit list --connection slack --user u_1 --operation call
        audit list --since soon
        audit export
        audit verify
        audit verify --checkpoint absent.json",
    );
}

#[test]
fn approvals() {
    session(
        "approvals",
        |_| {},
        ". connect slack --sandbox
        approval list
        approval list --all
        approval show apr_00112233445566778899aabb
        approval grant apr_00112233445566778899aabb
        approval deny apr_00112233445566778899aabb
        approval show 7
        api-token create agent --scope write:* --approve write
        ~ api-token show agent
        api-token update agent --approve destroy",
    );
}

#[test]
fn operators() {
    session(
        "operators",
        |_| {},
        "operator list
        dashboard link --as kim
        dashboard link --as kim --role editor --public-url https://integ.example/integ/
        dashboard link --as boss --role approver
        ~ operator list
        operator set kim --role viewer
        operator set ada --role editor
        operator set ada --role owner
        operator set boss --role approver
        operator remove ada
        operator remove ada
        ~ operator list",
    );
}

#[test]
fn ci_tokens() {
    session(
        "ci_tokens",
        |_| {},
        ". connect slack --sandbox
        api-token trust list
        api-token trust add deploy --issuer https://ci.example --audience https://integ.example --claim repository=acme/app --scope connections:read --connection slack
        api-token trust add deploy --issuer https://ci.example --audience a --claim a=b --scope read:* --connection slack
        api-token trust add x --issuer http://ci.example --audience a --claim a=b --scope read:* --connection slack
        api-token trust add x --issuer https://ci.example --audience a --claim a=b --scope read:* --connection slack --ttl 2h
        api-token trust add x --issuer https://ci.example --audience a --scope read:* --connection slack
        api-token trust list
        api-token trust remove nobody --yes
        api-token trust remove deploy
        api-token trust remove deploy --yes
        api-token login --oidc",
    );
}
