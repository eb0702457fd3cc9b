//! The document around a page: head, navigation, notices.

use maud::{DOCTYPE, Markup, html};

use super::context::DashboardContext;
use super::session::{CSRF_FIELD, SIGN_OUT};
use super::{DashboardPage, assets};

/// The sections of the navigation, in groups: path and name.
const SECTIONS: &[(&str, &[(&str, &str)])] = &[
    (
        "Integrations",
        &[
            ("/dashboard/connections", "Connections"),
            ("/dashboard/connect", "Connect"),
            ("/dashboard/connect-links", "Connect links"),
            ("/dashboard/events", "Events"),
            ("/dashboard/sync", "Sync"),
            ("/dashboard/bindings", "Bindings"),
            ("/dashboard/links", "Links"),
            ("/dashboard/calendar", "Calendar"),
            ("/dashboard/endpoints", "Endpoints"),
            ("/dashboard/connectors", "Connectors"),
        ],
    ),
    (
        "Governance",
        &[
            ("/dashboard/api-tokens", "API tokens"),
            ("/dashboard/approvals", "Approvals"),
            ("/dashboard/consents", "Consents"),
            ("/dashboard/users", "Users"),
            ("/dashboard/operators", "Operators"),
            ("/dashboard/audit", "Audit log"),
            ("/dashboard/alerts", "Alerts"),
            ("/dashboard/metrics", "Metrics"),
            ("/dashboard/settings", "Settings"),
        ],
    ),
];

fn head(base: &str, title: &str, refresh: Option<&str>) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width,initial-scale=1";
        meta name="color-scheme" content="light dark";
        @if let Some(url) = refresh { meta http-equiv="refresh" content={ "0;url=" (url) }; }
        title { (title) " · integ" }
        link rel="stylesheet" href=(assets::style(base));
        link rel="icon" type="image/svg+xml" href=(assets::icon(base));
        script src=(assets::script(base)) defer {}
    }
}

/// A page of a signed-in operator.
pub(super) fn document(context: &DashboardContext, page: &DashboardPage) -> Markup {
    framed(context, page, None)
}

/// A page that leads on to a service.
pub(super) fn leaving(context: &DashboardContext, url: &str, page: &DashboardPage) -> Markup {
    framed(context, page, Some(url))
}

fn framed(context: &DashboardContext, page: &DashboardPage, refresh: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(&context.base, &page.title, refresh)) }
            body {
                a .skip href="#main" { "Skip to the content" }
                header .top {
                    a .brand href=(context.href("/dashboard")) { "integ" }
                    span .workspace { (context.workspace().name) }
                    (account(context))
                }
                nav .side aria-label="Sections" { (navigation(context, page.section)) }
                main #main tabindex="-1" {
                    @if let Some(notice) = &context.notice { div .callout .good role="status" { (notice.0) } }
                    (page.body)
                }
            }
        }
    }
}

fn navigation(context: &DashboardContext, current: &str) -> Markup {
    html! {
        @for (group, sections) in SECTIONS {
            h2 { (group) }
            ul {
                @for (path, name) in *sections {
                    li { a href=(context.href(path)) aria-current=[(*path == current).then_some("page")] { (name) } }
                }
            }
        }
    }
}

fn account(context: &DashboardContext) -> Markup {
    html! {
        div .account {
            span { (context.operator.name) " " span .dim { (context.operator.role) } }
            (sign_out(context, "linklike"))
        }
    }
}

/// The button that ends the session.
pub(super) fn sign_out(context: &DashboardContext, style: &str) -> Markup {
    html! {
        form method="post" action=(context.href(&format!("/dashboard{SIGN_OUT}"))) {
            input type="hidden" name=(CSRF_FIELD) value=(context.csrf);
            button class=(style) type="submit" { "Sign out" }
        }
    }
}

/// A page of somebody who is not signed in.
pub(super) fn bare(base: &str, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(base, title, None)) }
            body .bare { main #main { p .brand { "integ" } (body) } }
        }
    }
}
