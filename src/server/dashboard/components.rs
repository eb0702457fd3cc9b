//! The parts that pages are made of: states, times, copied texts, tables' ends, empty states, charts.

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};

use super::context::DashboardContext;
use super::icons::Icon;

/// How a state is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateTone {
    Good,
    Busy,
    Warn,
    Bad,
    Dim,
}

impl StateTone {
    /// Returns the tone of a state of any resource, by its word.
    pub(super) fn of(state: &str) -> Self {
        match state {
            "active" | "processed" | "delivered" | "done" | "granted" | "healthy" | "verified" | "enabled"
            | "success" => Self::Good,
            "pending" | "running" | "queued" | "started" | "refreshed" | "info" => Self::Busy,
            "expiring" | "rate_limited" | "refused" | "interrupted" | "tentative" | "warning" | "unverified"
            | "needs_renewal" => Self::Warn,
            "needs_reauth" | "error" | "failed" | "dead" | "denied" | "unauthorized" | "expired" | "missing" => {
                Self::Bad
            }
            _ => Self::Dim,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Good => "badge good",
            Self::Busy => "badge busy",
            Self::Warn => "badge warn",
            Self::Bad => "badge bad",
            Self::Dim => "badge dim",
        }
    }

    fn icon(self) -> Icon {
        match self {
            Self::Good => Icon::Check,
            Self::Busy => Icon::Clock,
            Self::Warn => Icon::Warning,
            Self::Bad => Icon::Cross,
            Self::Dim => Icon::Off,
        }
    }
}

/// A state by word, icon and colour: `needs_reauth` is "needs reauth".
pub(super) fn state(word: &str) -> Markup {
    badge(StateTone::of(word), &word.replace('_', " "))
}

/// A word with a tone.
pub(super) fn badge(tone: StateTone, word: &str) -> Markup {
    html! { span class=(tone.class()) { (tone.icon().svg()) (word) } }
}

/// A small mark beside a name, such as `sandbox`.
pub(super) fn mark(word: &str) -> Markup {
    html! { span .mark { (word) } }
}

/// A time as how long ago it is, with the exact one in its title; a dash if there is none.
pub(super) fn time(context: &DashboardContext, text: &str) -> Markup {
    let Ok(at) = text.parse::<Timestamp>() else { return html! { span .dim { "—" } } };
    let seconds = at.as_second() - context.now.as_second();
    html! { time datetime=(text) title=(text) { (relative(seconds)) } }
}

/// `3 min ago`, `in 2 h`, `just now`.
pub(super) fn relative(seconds: i64) -> String {
    let size = seconds.unsigned_abs();
    let (count, unit) = match size {
        0..=4 => return "just now".to_owned(),
        5..=59 => (size, "s"),
        60..=3599 => (size / 60, "min"),
        3600..=86_399 => (size / 3600, "h"),
        _ => (size / 86_400, "d"),
    };
    if seconds < 0 { format!("{count} {unit} ago") } else { format!("in {count} {unit}") }
}

/// A number with its thousands apart.
pub(super) fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202F}');
        }
        out.push(digit);
    }
    if value < 0 { format!("−{out}") } else { out }
}

/// A text to copy, with a button where scripts run.
pub(super) fn code(text: &str) -> Markup {
    html! {
        span .copy {
            code { (text) }
            button .copybutton type="button" data-copy=(text) aria-label={ "Copy " (text) } hidden { (Icon::Copy.svg()) }
        }
    }
}

/// What a page says if it has nothing to show: what belongs here, and how it gets here.
pub(super) fn empty(title: &str, body: &Markup) -> Markup {
    html! { div .empty { h2 { (title) } (body) } }
}

/// The heading of a page with what can be done on it.
pub(super) fn heading(title: &str, about: &str, actions: &Markup) -> Markup {
    html! {
        header .pagehead {
            div {
                h1 { (title) }
                @if !about.is_empty() { p .about { (about) } }
            }
            div .actions { (actions) }
        }
    }
}

/// A form that searches the current list; the search keeps `filter`, a name and a value, unless the value is empty.
pub(super) fn search_form(context: &DashboardContext, path: &str, label: &str, filter: (&str, &str)) -> Markup {
    html! {
        form .search method="get" action=(context.href(path)) role="search" {
            @if !filter.1.is_empty() { input type="hidden" name=(filter.0) value=(filter.1); }
            label .visually-hidden for="search" { (label) }
            (Icon::Search.svg())
            input #search type="search" name="q" value=(context.query("q")) placeholder="Search" autocomplete="off"
                data-hotkey="/";
            button .visually-hidden type="submit" { "Search" }
        }
    }
}

/// A table: the names of its columns, and the cells of each row. The name of a column of numbers begins with `>`; one that
/// begins with `~` is only read to people who do not see it.
pub(super) fn table_of<R>(columns: &[&str], rows: impl IntoIterator<Item = R>, cells: impl Fn(R) -> Markup) -> Markup {
    let head = |column: &str| match (column.strip_prefix('>'), column.strip_prefix('~')) {
        (Some(name), _) => html! { th .right { (name) } },
        (_, Some(name)) => html! { th { span .visually-hidden { (name) } } },
        _ => html! { th { (column) } },
    };
    html! {
        div .table tabindex="0" { table {
            thead { tr { @for column in columns { (head(column)) } } }
            tbody { @for row in rows { tr { (cells(row)) } } }
        } }
    }
}

/// A part of a page with a heading.
pub(super) fn section(title: &str, body: &Markup) -> Markup {
    html! { section .card { h2 { (title) } (body) } }
}

/// A name and its value, in a list of them.
pub(super) fn property(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// The links to the next page of a list, if there is one, and back to the first.
pub(super) fn next_page(context: &DashboardContext, cursor: Option<&str>) -> Markup {
    let is_first = context.query("cursor").is_empty();
    html! {
        @if cursor.is_some() || !is_first {
            nav .pager aria-label="Pages" {
                @if !is_first { a .button href=(context.with_query(&[("cursor", "")])) { "First page" } }
                @if let Some(cursor) = cursor {
                    a .button rel="next" href=(context.with_query(&[("cursor", cursor)])) { "Next page" }
                }
            }
        }
    }
}

/// The part of a whole list that `page` in the query chooses, and the links to the parts before and behind it.
pub(super) fn page_of<'v, T>(context: &DashboardContext, rows: &'v [T], size: usize) -> (&'v [T], Markup) {
    let last = rows.len().div_ceil(size).max(1);
    let page = context.query("page").parse().unwrap_or(1).clamp(1, last);
    let link = |to: usize, rel: &str, label: &str| {
        html! { a .button rel=(rel) href=(context.with_query(&[("page", &to.to_string())])) { (label) } }
    };
    let links = html! {
        @if last > 1 {
            nav .pager aria-label="Pages" {
                @if page > 1 { (link(page - 1, "prev", "Previous page")) }
                span .dim { "Page " (page) " of " (last) }
                @if page < last { (link(page + 1, "next", "Next page")) }
            }
        }
    };
    (rows.chunks(size).nth(page - 1).unwrap_or_default(), links)
}

/// The link of a service's own: only to the web.
pub(super) fn web_link(url: &str, label: &str) -> Markup {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    html! {
        @if is_web { a href=(url) rel="noreferrer noopener" target="_blank" { (label) } } @else { (label) }
    }
}

/// One bar of a chart: its share of the height from 0 to 1, its tone, and what it says.
pub(super) struct Bar {
    pub(super) share: f64,
    pub(super) tone: StateTone,
    pub(super) about: String,
}

/// Bars beside each other, the oldest first. `label` says in words what they show.
pub(super) fn bars(label: &str, bars: &[Bar]) -> Markup {
    let stack = |bar: &Bar| BarStack { parts: vec![(bar.tone, bar.share)], about: bar.about.clone() };
    stacks(label, &bars.iter().map(stack).collect::<Vec<_>>())
}

/// A bar of several parts, from below: the tone of each, and its share of the height from 0 to 1.
pub(super) struct BarStack {
    pub(super) parts: Vec<(StateTone, f64)>,
    pub(super) about: String,
}

/// Bars of several parts beside each other, the oldest first. `label` says in words what they show.
pub(super) fn stacks(label: &str, stacks: &[BarStack]) -> Markup {
    const HEIGHT: f64 = 40.0;
    let mut shapes = String::new();
    for (index, stack) in stacks.iter().enumerate() {
        let about = crate::http::html::escape(&stack.about);
        let mut top = HEIGHT;
        for (tone, share) in &stack.parts {
            let height = (share.clamp(0.0, 1.0) * HEIGHT).max(2.0);
            top = (top - height).max(0.0);
            let class = tone.class().trim_start_matches("badge ");
            shapes.push_str(&format!(
                "<rect class=\"{class}\" x=\"{}\" y=\"{top:.1}\" width=\"6\" height=\"{height:.1}\" rx=\"1.5\"><title>{about}</title></rect>",
                index * 8,
            ));
        }
    }
    let width = (stacks.len() * 8).max(8);
    html! {
        svg .chart role="img" aria-label=(label) viewBox={ "0 0 " (width) " 40" } width=(width) height="40" {
            (PreEscaped(shapes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_short() {
        let texts: Vec<String> = [0, -5, -61, -7200, 86_400 * 3].map(relative).to_vec();
        assert_eq!(texts, ["just now", "5 s ago", "1 min ago", "2 h ago", "in 3 d"]);
        assert_eq!([0, 999, 1000, -1_234_567].map(number), ["0", "999", "1\u{202F}000", "−1\u{202F}234\u{202F}567"]);
    }

    #[test]
    fn a_service_links_only_to_the_web() {
        assert!(web_link("https://x.example/\"><b>", "x").0.contains("&quot;&gt;&lt;b&gt;"));
        for url in ["javascript:alert(1)", "data:text/html,x", "//evil.example", ""] {
            assert_eq!(web_link(url, "x").0, "x");
        }
    }

    #[test]
    fn a_chart_escapes_what_its_bars_say() {
        let bar = Bar { share: 2.0, tone: StateTone::Bad, about: "<script>".to_owned() };
        let svg = bars("Checks", &[bar]).0;
        assert!(svg.contains("&lt;script&gt;") && svg.contains("height=\"40.0\"") && !svg.contains("<script"));
    }

    #[test]
    fn the_parts_of_a_bar_are_above_each_other() {
        let parts = vec![(StateTone::Good, 0.5), (StateTone::Bad, 0.25)];
        let svg = stacks("Deliveries", &[BarStack { parts, about: String::new() }]).0;
        for part in ["class=\"good\" x=\"0\" y=\"20.0\"", "class=\"bad\" x=\"0\" y=\"10.0\""] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }
}
