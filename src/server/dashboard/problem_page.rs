//! A failure as a page: what failed in full, and its fix.

use maud::{Markup, html};

use super::context::DashboardContext;
use super::fix::fix;
use super::{DashboardPage, layout, page_reply};
use crate::http::serve::{FullResponse, StatusCode};
use crate::server::problem::Problem;

/// Shows why a page cannot be shown.
pub(super) fn respond(context: &DashboardContext, problem: &Problem) -> FullResponse {
    shown(context, problem, None, &[])
}

/// Shows why a form has done nothing. `back` is the page that it was on; long texts of it can be copied.
pub(super) fn respond_to_form(
    context: &DashboardContext,
    problem: &Problem,
    back: &str,
    fields: &[(String, String)],
) -> FullResponse {
    shown(context, problem, Some(back), fields)
}

fn shown(
    context: &DashboardContext,
    problem: &Problem,
    back: Option<&str>,
    fields: &[(String, String)],
) -> FullResponse {
    let texts: Vec<&str> = fields.iter().map(|(_, text)| text.as_str()).filter(|text| text.contains('\n')).collect();
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        _ if back.is_some() => "Nothing was changed",
        _ => "This page cannot be shown",
    };
    let line = line_of(&problem.view.detail);
    let hint = problem.view.hint.clone();
    let body = html! {
        h1 { (title) }
        div .callout .bad role="alert" {
            p { (sentence(&problem.view.detail)) }
            @if let Some(hint) = hint { (fix(context, &hint)) }
        }
        p .hint { "Code: " code { (problem.view.code) } }
        @for text in texts { h2 { "What you sent" } (numbered(text, line)) }
        @if let Some(back) = back { p { a .button href=(context.href(back)) { "Back" } } }
    };
    page_reply(
        problem.status,
        &layout::document(context, &DashboardPage { title: title.to_owned(), section: "", body }),
    )
}

/// The number of the line that a message names.
fn line_of(message: &str) -> Option<usize> {
    let rest = message.split("line ").nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A text with the numbers of its lines, of which one may have a mistake.
fn numbered(text: &str, wrong: Option<usize>) -> Markup {
    html! {
        ol .lines {
            @for (index, line) in text.lines().enumerate() {
                li .wrong[wrong == Some(index + 1)] aria-current=[(wrong == Some(index + 1)).then_some("true")] { code { (line) } }
            }
        }
    }
}

/// Returns a message of the API as a sentence.
pub(super) fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        // A code stays as it is.
        Some(_) if message.split(' ').next().is_some_and(|word| word.contains('_')) => message.to_owned(),
        Some(first) if !message.ends_with(['.', '!', '?']) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
        Some(first) => format!("{}{}", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_the_mistake_is_marked() {
        assert_eq!(line_of("invalid text at line 2, column 3: x"), Some(2));
        assert_eq!(line_of("the line is bad"), None);
        let shown = numbered("a\n<b>\nc", Some(2)).0;
        assert!(shown.contains("<li class=\"wrong\" aria-current=\"true\"><code>&lt;b&gt;</code></li>"), "{shown}");
    }
}
