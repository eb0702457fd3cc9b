use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::connector::catalogue::parse;

const PETS: &str = include_str!("../../../tests/openapi/pets.yaml");
const CARDS: &str = include_str!("../../../tests/openapi/cards.json");

fn draft(text: &str, actions: &[&str]) -> ConnectorDraft {
    let ids: Vec<String> = actions.iter().map(|id| (*id).to_owned()).collect();
    OpenApiDescription::parse(text.as_bytes(), None).unwrap().draft(Some(&ids)).unwrap()
}

#[test]
fn version_3_in_yaml_becomes_a_file_as_people_write_them() {
    let description = OpenApiDescription::parse(PETS.as_bytes(), None).unwrap();
    let first_few = description.draft(None).unwrap();
    insta::assert_snapshot!(first_few.to_toml().unwrap(), @r#"
    id = "acme-pets"
    name = "Acme Pets"
    category = "generic"
    description = "Pets and their owners."
    docs = "https://developers.acme.example"
    unsure = ["Whether /users/me is a good check: it was guessed from the description."]

    [params.region]
    prompt = "Region of the account"
    default = "eu"
    choices = ["eu", "us"]

    [api]
    base = "https://{region}.acme.example/v1"
    names = "camel"

    [auth.oauth]
    label = "OAuth"

    [auth.oauth.oauth2]
    authorize_url = "https://acme.example/authorize"
    token_url = "https://acme.example/token"
    scope = { default = ["pets.read", "pets.write"] }

    [auth.api-key]
    label = "API key"
    send = { headers = { X-Api-Key = "{key}" } }

    [auth.api-key.fields.key]
    prompt = "Key from your profile"

    [scopes]
    "pets.read" = "Read pets"
    "pets.write" = "Create and change pets"
    admin = "Admin"

    [health]
    path = "/users/me"
    account = { id = "/data/id", name = "/data/displayName" }

    [actions.create_pet]
    about = "Create a pet"
    path = "/pets"
    scopes = ["pets.write"]
    status = 201
    result = { id = "/id" }

    [actions.create_pet.params]
    pet_name = { about = "What it is called", required = true }
    notify_owner = { about = "Notify owner", type = "boolean", in = "query" }
    x_trace = { about = "X trace", in = "header", to = "/X-Trace" }
    kind = { about = "Kind", choices = ["cat", "dog"] }
    birth_date = { about = "Birth date" }
    tags = { about = "Tags", type = "array" }
    owner = { about = "Owner", type = "object" }
    weight = { about = "Weight", type = "number" }

    [actions.upload_photo]
    about = "Upload photo"
    path = "/pets/{pet_id}/photos"
    scopes = ["pets.read"]
    body = "multipart"

    [actions.upload_photo.params]
    pet_id = { about = "Pet id", required = true }
    file = { about = "File", type = "file" }
    caption = { about = "Caption" }
    "#);
}

#[test]
fn version_2_in_json_becomes_a_file_as_people_write_them() {
    let mut draft = draft(CARDS, &["Cards.Create", "Cards.Move"]);
    draft.docs = "https://cards.example/docs".to_owned();
    insta::assert_snapshot!(draft.to_toml().unwrap(), @r#"
    id = "cards"
    name = "Cards"
    category = "generic"
    description = "Boards and cards."
    docs = "https://cards.example/docs"
    unsure = ["Whether /whoami is a good check: it was guessed from the description."]

    [api]
    base = "https://api.cards.example/v2"
    names = "pascal"

    [auth.keys]
    label = "API keys"
    send = { query = { key = "{app_key}", token = "{user_token}" } }

    [auth.keys.fields.app_key]
    prompt = "App key"

    [auth.keys.fields.user_token]
    prompt = "User token"

    [auth.login]
    label = "User name and password (HTTP Basic)"
    send = { basic = { username = "{username}", password = "{password}" } }

    [auth.login.fields.username]
    prompt = "Name"
    secret = false

    [auth.login.fields.password]
    prompt = "Password"

    [auth.oauth]
    label = "OAuth"

    [auth.oauth.oauth2]
    authorize_url = "https://cards.example/authorize"
    token_url = "https://cards.example/token"
    scope = { default = ["read"] }

    [scopes]
    read = "Read cards"
    write = "Change cards"

    [health]
    path = "/whoami"
    account = { id = "/Id", name = "/email" }

    [actions."cards.create"]
    about = "Makes a card"
    path = "/cards"
    result = { id = "/Id" }

    [actions."cards.create".params]
    title = { about = "Title", required = true }
    due_date = { about = "Due date" }

    [actions."cards.move"]
    about = "Cards move"
    path = "/cards/{card_id}/move"
    body = "form"
    status = 204

    [actions."cards.move".params]
    card_id = { about = "Card id", required = true }
    column = { about = "Column", required = true, choices = ["todo", "done"] }
    client_id_value = { about = "Client id", type = "integer", to = "/client_id" }
    "#);
}

#[test]
fn what_creates_something_is_offered_first() {
    let offers = OpenApiDescription::parse(PETS.as_bytes(), None).unwrap().summaries();
    let ids: Vec<&str> = offers.iter().map(|offer| offer.id.as_str()).collect();
    assert_eq!(ids, ["createPet", "uploadPhoto", "listPets", "photos/delete-all", "getMe"]);
    // A body that is a list is none that parameters make.
    assert!(
        OpenApiDescription::parse(CARDS.as_bytes(), None)
            .unwrap()
            .summaries()
            .iter()
            .all(|offer| offer.id != "Cards.Raw")
    );
}

#[test]
fn unknown_and_unfit_operations_are_named() {
    let pets = OpenApiDescription::parse(PETS.as_bytes(), None).unwrap();
    let unknown = pets.draft(Some(&["createpets".to_owned()])).unwrap_err();
    assert_eq!(unknown.hint().unwrap().to_string(), "did you mean --action createPet?");
    let cards = OpenApiDescription::parse(CARDS.as_bytes(), None).unwrap();
    let unfit = cards.draft(Some(&["Cards.Raw".to_owned()])).unwrap_err();
    assert!(matches!(unfit, OpenApiError::UnsupportedOperation { .. }), "{unfit}");
}

#[test]
fn an_operation_with_a_member_that_no_pointer_names_is_not_offered() {
    let schema = json!({ "type": "object", "properties": { "*": { "type": "string" } } });
    let post = json!({ "requestBody": { "content": { "application/json": { "schema": schema } } } });
    let text =
        json!({ "openapi": "3.0.0", "info": { "title": "Star" }, "paths": { "/x": { "post": post, "get": {} } } });
    let description = OpenApiDescription::parse(text.to_string().as_bytes(), None).unwrap();
    let offered: Vec<String> = description.summaries().into_iter().map(|offer| offer.id).collect();
    assert_eq!(offered.len(), 1, "{offered:?}");
}

#[test]
fn what_is_no_description_is_refused() {
    let broken = |text: &str| OpenApiDescription::parse(text.as_bytes(), None).unwrap_err();
    assert!(matches!(broken("{\"openapi\": "), OpenApiError::Syntax(_)));
    assert!(matches!(broken("a: [1\nb: 2"), OpenApiError::Syntax(_)));
    assert!(matches!(broken("<!doctype html>"), OpenApiError::MissingVersion | OpenApiError::Syntax(_)));
    assert!(matches!(broken("{\"id\": 1}"), OpenApiError::MissingVersion));
    assert!(OpenApiDescription::parse(&[0xff, 0xfe], None).is_err());
    assert!(matches!(broken(&"[".repeat(100_000)), OpenApiError::Syntax(_)));
    // Aliases that multiply.
    let mut bomb = String::from("openapi: 3.0.0\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", ")));
    }
    assert!(matches!(broken(&bomb), OpenApiError::Syntax(_)));
}

#[test]
fn references_that_lead_nowhere_or_round_end() {
    let text = json!({
        "openapi": "3.1.0", "info": { "title": "Round" },
        "paths": { "/x": { "post": { "operationId": "x", "requestBody": { "$ref": "#/components/a" } } } },
        "components": { "a": { "$ref": "#/components/b" }, "b": { "$ref": "#/components/a" } },
    });
    let description = OpenApiDescription::parse(text.to_string().as_bytes(), None).unwrap();
    assert!(matches!(description.draft(Some(&["x".to_owned()])), Err(OpenApiError::UnsupportedOperation { .. })));
    let deep = json!({ "allOf": [{ "$ref": "#/components/schemas/A" }], "properties": { "a": { "type": "string" } } });
    let text = json!({
        "openapi": "3.1.0", "info": { "title": "Deep" }, "components": { "schemas": { "A": deep } },
        "paths": { "/x": { "post": { "operationId": "x", "requestBody": { "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/A" } } } } } } },
    });
    let description = OpenApiDescription::parse(text.to_string().as_bytes(), None).unwrap();
    assert_eq!(description.draft(Some(&["x".to_owned()])).unwrap().actions[0].params.len(), 1);
}

#[test]
fn relative_servers_follow_the_document() {
    let text = json!({ "openapi": "3.0.0", "info": { "title": "x" }, "servers": [{ "url": "/api/{v}" }] }).to_string();
    let at = Url::parse("https://acme.example/spec/openapi.json").unwrap();
    let base = |at| OpenApiDescription::parse(text.as_bytes(), at).unwrap().draft(None).unwrap().base;
    assert_eq!(base(Some(at)).as_deref(), Some("https://acme.example/api/{v}"));
    assert_eq!(base(None), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever names and texts a description holds, what is made of it is valid.
    #[test]
    fn every_draft_is_valid(
        title in ".{0,30}", name in ".{1,12}", other in "[a-zA-Z_.$-]{1,12}", about in ".{0,40}", id in ".{0,20}",
        header in "[A-Za-z-]{1,12}", required in any::<bool>(),
    ) {
        let schema = json!({ "type": "object", "required": [name.clone()],
            "properties": { name.clone(): { "type": "string", "description": about }, other.clone(): { "type": "integer" } } });
        let text = json!({
            "openapi": "3.0.0", "info": { "title": title, "description": about },
            "components": { "securitySchemes": { other.clone(): { "type": "apiKey", "in": "header", "name": header,
                "description": about } } },
            "paths": { "/things": { "post": { "operationId": id, "summary": about,
                "parameters": [{ "in": "query", "name": other.clone(), "required": required, "schema": { "type": "string" } }],
                "requestBody": { "required": required, "content": { "application/json": { "schema": schema } } } },
              "get": {} } },
        });
        let description = OpenApiDescription::parse(text.to_string().as_bytes(), None).unwrap();
        let ids: Vec<String> = description.summaries().into_iter().map(|offer| offer.id).collect();
        let mut draft = description.draft(Some(&ids)).unwrap();
        draft.id = "acme".to_owned();
        draft.docs = "https://acme.example".to_owned();
        draft.base = Some("https://acme.example/api".to_owned());
        let file = draft.to_toml();
        prop_assert!(file.is_ok(), "{}\n{:?}", file.unwrap_err(), draft);
        prop_assert!(parse(&file.unwrap()).is_ok());
    }
}
