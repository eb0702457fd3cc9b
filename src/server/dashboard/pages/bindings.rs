//! Bindings: the list, an editor with a preview on real records, and conflicts.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::DashboardPage;
use super::super::action::FormAction;
use super::super::components::{StateTone, badge, empty, heading, next_page, number, section, table_of, time};
use super::super::context::{DashboardContext, segment};
use super::super::form::{Field, hidden};
use super::super::problem_page::sentence;
use super::super::values::Fields;
use super::{PageHandler, page};
use crate::server::problem::Problem;

pub(super) const PAGES: &[(&str, PageHandler)] = &[
    page!("/dashboard/bindings", list),
    page!("/dashboard/bindings/{binding}", show),
    page!("/dashboard/new-binding", new),
];

pub(super) const SECTION: &str = "/dashboard/bindings";

static SET: FormAction = FormAction::put("/v1/bindings/{binding}");
static PREVIEW: FormAction = FormAction::post("/v1/bindings/{binding}/preview");
static TEST: FormAction = FormAction::post("/v1/bindings/{binding}/test");
static RETRY: FormAction = FormAction::post("/v1/bindings/{binding}/retry");
static REMOVE: FormAction = FormAction::delete("/v1/bindings/{binding}");
static RESOLVE: FormAction = FormAction::post("/v1/bindings/{binding}/resolve");

async fn list(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let (bindings, conflicts) = tokio::join!(
        context.get("/v1/bindings", &[], &[("limit", "50"), ("cursor", context.query("cursor"))]),
        context.get("/v1/binding-conflicts", &[], &[])
    );
    let (bindings, conflicts) = (bindings?, conflicts?);
    let create = html! { @if context.may(&SET) { a .button .primary href=(context.href("/dashboard/new-binding")) { "New binding" } } };
    let body = html! {
        (heading("Bindings", "Records and events in your own shape.", &create))
        @if bindings.items("data").is_empty() {
            (empty("No bindings", &html! {
                p { "A binding names the fields of your own shape and says what each is made of: " code { "email = \"/properties/email\"" } "." }
                p { "With it, records, files and deliveries have the shape that your program expects." }
            }))
        } @else { (table(context, bindings.items("data"))) (next_page(context, bindings.maybe("next_cursor"))) }
        @if !conflicts.items("conflicts").is_empty() { (section("Conflicts", &conflict_list(context, conflicts.items("conflicts")))) }
    };
    Ok(DashboardPage { title: "Bindings".to_owned(), section: SECTION, body })
}

fn table(context: &DashboardContext, bindings: &[Value]) -> Markup {
    table_of(&["Binding", "Maps", "Changed", "Failures"], bindings, |one| {
        html! {
            td { a href=(context.href(&format!("{SECTION}/{}", segment(one.text("name"))))) { (one.text("name")) } }
            td { code { (one.text("from")) } }
            td .nowrap { (time(context, one.text("changed_at"))) }
            td { @match one.number("failure_count") { 0 => (badge(StateTone::Good, "none")), count => (badge(StateTone::Bad, &number(count))) } }
        }
    })
}

fn conflict_list(context: &DashboardContext, conflicts: &[Value]) -> Markup {
    let shown = |value: &Value| if value.is_null() { "—".to_owned() } else { value.to_string() };
    let keep = |one: &Value, side: &str, label: &str| {
        let field = one.text("field");
        let fields = html! {
            (hidden("entity", one.text("entity")))
            (hidden("connection", one.text("connection")))
            (hidden(&format!("resolution.{side}"), field))
        };
        context.form(&RESOLVE, &[("binding", one.text("binding"))]).fields(fields).button_about(label, field)
    };
    html! {
        p { "These fields changed on both sides since they were last the same." }
        (table_of(&["Entity", "Field", "Agreed", "Yours", "The service's"], conflicts.iter().take(50), |one| html! {
            td { (one.text("entity")) div .hint { (one.text("binding")) " · " (one.text("connection")) } }
            td { code { (one.text("field")) } }
            td { code { (shown(&one["agreed"])) } }
            td { code { (shown(&one["ours"])) } (keep(one, "ours", "Keep yours")) }
            td { code { (shown(&one["theirs"])) } (keep(one, "theirs", "Keep theirs")) }
        }))
    }
}

async fn new(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let name = context.query("name").trim();
    let origin = context.query("origin").trim();
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Bindings" } }
        (heading("New binding", "", &html! {}))
        @if name.is_empty() || origin.is_empty() { (naming(context, name, origin)) }
        @else {
            (editor(context, name, Some(origin), STARTER))
            p .hint { "A connector may have templates: " code { "integ binding templates" } "." }
        }
    };
    Ok(DashboardPage { title: "New binding".to_owned(), section: SECTION, body })
}

/// The text that a new binding begins with.
const STARTER: &str = "[fields]\nid = \"/id\"\n";

fn naming(context: &DashboardContext, name: &str, origin: &str) -> Markup {
    section(
        "What it maps",
        &html! {
            form .stack method="get" action=(context.href("/dashboard/new-binding")) {
                (Field::new("name", "Name").value(name).required().text())
                (Field::new("origin", "From").hint("A stream such as hubspot/contacts, or events such as stripe#charge.refunded.").value(origin).required().text())
                div .actions { button .primary type="submit" { "Continue" } }
            }
        },
    )
}

/// The text of a binding, with what can be done with it before it is stored.
fn editor(context: &DashboardContext, name: &str, origin: Option<&str>, text: &str) -> Markup {
    let values = [("binding", name)];
    let rows = u32::try_from(text.lines().count()).unwrap_or(u32::MAX).clamp(10, 30);
    let fields = html! {
        @if let Some(origin) = origin { (hidden("origin", origin)) }
        (Field::new("text", "Text").hint("Preview maps real records with the text, and stores nothing.").value(text).required().area(rows))
    };
    let mut form =
        context.form(&SET, &values).fields(fields).primary().returns_to(format!("{SECTION}/{}", segment(name)));
    if origin.is_none() {
        form = form.or(&PREVIEW, &values, "Preview");
    }
    section("Text", &html! { @if context.may(&SET) { (form.button("Store")) } @else { pre { (text) } } })
}

async fn show(context: &DashboardContext) -> Result<DashboardPage, Problem> {
    let name = context.param("binding");
    let values = [("binding", name)];
    let few = json!({ "limit": 3 });
    let (binding, preview) = tokio::join!(
        context.get("/v1/bindings/{binding}", &values, &[]),
        context.post("/v1/bindings/{binding}/preview", &values, &few),
    );
    let binding = binding?;
    let body = html! {
        (head(context, &binding))
        div .columns {
            (editor(context, name, None, binding.text("text")))
            (section("Preview", &html! {
                @match &preview { Ok(preview) => (documents(preview)), Err(problem) => div .callout .warn { p { (sentence(&problem.view.detail)) } } }
            }))
        }
        (failures(context, &binding))
    };
    Ok(DashboardPage { title: name.to_owned(), section: SECTION, body })
}

fn head(context: &DashboardContext, binding: &Value) -> Markup {
    let values = [("binding", binding.text("name"))];
    let actions = html! {
        (context.form(&TEST, &values).button("Run its examples"))
        (context.form(&REMOVE, &values).danger().returns_to(SECTION).button("Remove"))
    };
    html! {
        p .crumbs { a href=(context.href(SECTION)) { "Bindings" } }
        (heading(binding.text("name"), &format!("Maps {}", binding.text("from")), &actions))
    }
}

fn failures(context: &DashboardContext, binding: &Value) -> Markup {
    let failures = binding.items("failures");
    html! {
        @if !failures.is_empty() {
            (section("Failures", &html! {
                (table_of(&["Input", "Why", "When"], failures.iter().take(20), |one| html! {
                    td { code { (one.text("input")) } } td { (sentence(one.text("reason"))) } td .nowrap { (time(context, one.text("failed_at"))) }
                }))
                p { (context.form(&RETRY, &[("binding", binding.text("name"))]).button("Map them again")) }
            }))
        }
    }
}

/// What a binding makes of some inputs, field by field.
fn documents(preview: &Value) -> Markup {
    let inputs = preview.items("documents");
    let shown =
        |value: &Value| if value.is_null() { "—".to_owned() } else { value.to_string().chars().take(200).collect() };
    html! {
        @if inputs.is_empty() { p .hint { "No records or events to map yet: sync the stream, or simulate an event." } }
        @for document in inputs.iter().take(5) {
            h3 { code { (document.text("input")) } }
            (table_of(&["Field", "Made of", "Becomes"], document.items("fields").iter().take(40), |field| html! {
                td { code { (field.text("field")) } }
                td {
                    code { (field.text("expression")) }
                    @for input in field.items("inputs").iter().take(4) { div .hint { (input.text("path")) " = " (shown(&input["value"])) } }
                }
                td { @match field.maybe("error") { Some(error) => { (badge(StateTone::Bad, "failed")) " " (error) }, None => code { (shown(&field["output"])) }, } }
            }))
        }
    }
}

/// The page that shows what a changed text would make.
pub(super) fn previewed(context: &DashboardContext, name: &str, text: &str, preview: &Value) -> DashboardPage {
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Bindings" } " / " a href=(context.href(&format!("{SECTION}/{}", segment(name)))) { (name) } }
        (heading(&format!("Preview of {name}"), "Nothing is stored yet.", &html! {}))
        div .columns { (editor(context, name, None, text)) (section("Preview", &documents(preview))) }
    };
    DashboardPage { title: format!("Preview of {name}"), section: SECTION, body }
}

/// The page that shows how the examples of a binding ended.
pub(super) fn tested(context: &DashboardContext, name: &str, report: &Value) -> DashboardPage {
    let body = html! {
        p .crumbs { a href=(context.href(SECTION)) { "Bindings" } " / " a href=(context.href(&format!("{SECTION}/{}", segment(name)))) { (name) } }
        (heading("Examples", &format!("{} passed, {} failed", report.number("passed"), report.number("failed")), &html! {}))
        @if report.items("examples").is_empty() {
            (empty("No examples", &html! { p { "An example in the text says what an input must become; it is run each time the binding is stored." } }))
        }
        @for one in report.items("examples") {
            (section(one.text("example"), &html! {
                p { @if one.text("outcome") == "passed" { (badge(StateTone::Good, "passed")) } @else { (badge(StateTone::Bad, "failed")) } }
                @for line in one.texts("differences") { pre { (line) } }
            }))
        }
    };
    DashboardPage { title: "Examples".to_owned(), section: SECTION, body }
}
