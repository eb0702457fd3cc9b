//! Forms. Each is made here from an action, so that none can lack its token or name what the API does not have.

use maud::{Markup, html};

use super::action::FormAction;
use super::context::{DashboardContext, segment};
use super::session::CSRF_FIELD;

/// The beginning of the paths that forms are sent to; the path of the route follows.
pub(super) const SUBMIT: &str = "/dashboard/do";

/// The field with the method of the route, as browsers send only POST. A button that does another action sends it again, after that
/// of its form.
pub(super) const METHOD_FIELD: &str = "_method";

/// The field with the page to return to.
pub(super) const RETURN_FIELD: &str = "_return";

/// The field with the values of [`EACH`]: the action runs once for each of them, or once for all if it is in the query.
pub(super) const EACH_FIELD: &str = "_each";

/// Stands in the path or the query of an action for each of several values.
pub(super) const EACH: &str = "_each_";

/// What the names of fields begin with that go into the query of the route, and not into its body.
pub(super) const QUERY_PREFIX: &str = "query.";

/// How a button looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ButtonStyle {
    Plain,
    Primary,
    Danger,
    Link,
}

impl ButtonStyle {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Primary => "primary",
            Self::Danger => "danger",
            Self::Link => "linklike",
        }
    }
}

/// A form that runs an action.
pub(super) struct Form<'c> {
    context: &'c DashboardContext,
    action: &'static FormAction,
    path: String,
    fields: Option<Markup>,
    style: ButtonStyle,
    return_to: Option<String>,
    cancel: Option<String>,
    others: Vec<OtherAction>,
    id: Option<&'static str>,
}

/// A further button of a form, which does something else with the same fields.
struct OtherAction {
    action: &'static FormAction,
    path: String,
    label: &'static str,
}

impl<'c> Form<'c> {
    pub(super) fn new(
        context: &'c DashboardContext,
        action: &'static FormAction,
        values: &[(&'static str, &str)],
    ) -> Self {
        Self {
            context,
            action,
            path: filled(action, values),
            fields: None,
            style: ButtonStyle::Plain,
            return_to: None,
            cancel: None,
            others: Vec::new(),
            id: None,
        }
    }

    /// Gives it a name, for fields that are elsewhere on the page.
    pub(super) fn named(self, id: &'static str) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Adds a button that does another action with the same fields.
    pub(super) fn or(
        mut self,
        action: &'static FormAction,
        values: &[(&'static str, &str)],
        label: &'static str,
    ) -> Self {
        if self.context.may(action) {
            self.others.push(OtherAction { action, path: filled(action, values), label });
        }
        self
    }

    /// Adds a button that does another action once with all values of [`EACH_FIELD`], each as `name` in its query.
    pub(super) fn or_together(mut self, action: &'static FormAction, name: &str, label: &'static str) -> Self {
        if self.context.may(action) {
            self.others.push(OtherAction { action, path: format!("{}?{name}={EACH}", action.path), label });
        }
        self
    }

    /// Adds what a person fills in.
    pub(super) fn fields(self, fields: Markup) -> Self {
        Self { fields: Some(fields), ..self }
    }

    /// Marks it as what the page is for.
    pub(super) fn primary(self) -> Self {
        Self { style: ButtonStyle::Primary, ..self }
    }

    /// Marks it as something that cannot be undone.
    pub(super) fn danger(self) -> Self {
        Self { style: ButtonStyle::Danger, ..self }
    }

    /// Makes its button look like a link.
    pub(super) fn link(self) -> Self {
        Self { style: ButtonStyle::Link, ..self }
    }

    /// Leads to another page than the present one afterwards.
    pub(super) fn returns_to(self, path: impl Into<String>) -> Self {
        Self { return_to: Some(path.into()), ..self }
    }

    /// Adds a link that leaves without doing anything.
    pub(super) fn or_cancel(self, path: impl Into<String>) -> Self {
        Self { cancel: Some(path.into()), ..self }
    }

    /// Returns the form with a button, or nothing if the operator's role does not allow the action.
    pub(super) fn button(self, label: &str) -> Markup {
        self.labelled(label, None)
    }

    /// The same for one of many buttons of the same name; `about` says to screen readers which one it is.
    pub(super) fn button_about(self, label: &str, about: &str) -> Markup {
        self.labelled(label, Some(about))
    }

    fn labelled(self, label: &str, about: Option<&str>) -> Markup {
        if !self.context.may(self.action) {
            return html! {};
        }
        let context = self.context;
        let return_to = self.return_to.unwrap_or_else(|| context.here.clone());
        let has_fields = self.fields.is_some();
        let name = about.map(|about| format!("{label} {about}"));
        html! {
            form method="post" action={ (context.href(SUBMIT)) (self.path) } class=(if has_fields { "stack" } else { "inline" }) id=[self.id] {
                input type="hidden" name=(CSRF_FIELD) value=(context.csrf);
                input type="hidden" name=(METHOD_FIELD) value=(self.action.method.as_str());
                input type="hidden" name=(RETURN_FIELD) value=(return_to);
                @if let Some(fields) = self.fields { (fields) }
                @if has_fields || self.cancel.is_some() {
                    div .actions {
                        button type="submit" class=(self.style.class()) aria-label=[name] { (label) }
                        @for other in &self.others {
                            button type="submit" name=(METHOD_FIELD) value=(other.action.method.as_str())
                                formaction={ (context.href(SUBMIT)) (other.path) } { (other.label) }
                        }
                        @if let Some(cancel) = self.cancel { a .button href=(context.href(&cancel)) { "Cancel" } }
                    }
                } @else {
                    button type="submit" class=(self.style.class()) aria-label=[name] { (label) }
                }
                output .formnote {}
            }
        }
    }
}

/// Returns the path of an action with its values.
fn filled(action: &FormAction, values: &[(&'static str, &str)]) -> String {
    let fill = |path: String, (name, value): &(&str, &str)| path.replace(&format!("{{{name}}}"), &segment(value));
    values.iter().fold(action.path.to_owned(), fill)
}

/// A field of a form.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    /// What to know before filling it in.
    pub(super) hint: &'a str,
    pub(super) value: &'a str,
    pub(super) is_required: bool,
}

impl<'a> Field<'a> {
    pub(super) fn new(name: &'a str, label: &'a str) -> Self {
        Self { name, label, hint: "", value: "", is_required: false }
    }

    pub(super) fn hint(self, hint: &'a str) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn value(self, value: &'a str) -> Self {
        Self { value, ..self }
    }

    pub(super) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    fn id(&self) -> String {
        format!("field-{}", self.name)
    }

    fn hint_id(&self) -> Option<String> {
        (!self.hint.is_empty()).then(|| format!("hint-{}", self.name))
    }

    fn wrapped(&self, control: &Markup) -> Markup {
        let mark = html! { @if !self.is_required { span .optional { " (optional)" } } };
        self.marked(&mark, control)
    }

    fn marked(&self, mark: &Markup, control: &Markup) -> Markup {
        html! {
            div .field {
                label for=(self.id()) { (self.label) (mark) }
                (control)
                @if let Some(id) = self.hint_id() { p .hint id=(id) { (self.hint) } }
            }
        }
    }

    fn input(&self, kind: &str) -> Markup {
        self.wrapped(&html! {
            input type=(kind) id=(self.id()) name=(self.name) value=(self.value) required[self.is_required] autocomplete="off"
                spellcheck="false" aria-describedby=[self.hint_id()];
        })
    }

    /// A line of text.
    pub(super) fn text(self) -> Markup {
        self.input("text")
    }

    /// A line that is not shown.
    pub(super) fn password(self) -> Markup {
        self.input("password")
    }

    /// A number.
    pub(super) fn number(self) -> Markup {
        self.input("number")
    }

    /// A date and a time of day, without a time zone.
    pub(super) fn moment(self) -> Markup {
        self.input("datetime-local")
    }

    /// Several lines.
    pub(super) fn area(self, rows: u32) -> Markup {
        self.wrapped(&html! {
            textarea id=(self.id()) name=(self.name) rows=(rows) required[self.is_required] spellcheck="false"
                aria-describedby=[self.hint_id()] { (self.value) }
        })
    }

    /// One of several values, each with its label.
    pub(super) fn select<V: AsRef<str>, L: AsRef<str>>(self, choices: &[(V, L)]) -> Markup {
        // There is always a choice.
        self.marked(
            &html! {},
            &html! {
                select id=(self.id()) name=(self.name) required[self.is_required] aria-describedby=[self.hint_id()] {
                    @for (value, label) in choices {
                        option value=(value.as_ref()) selected[value.as_ref() == self.value] { (label.as_ref()) }
                    }
                }
            },
        )
    }
}

/// A choice of yes, which is sent as true.
pub(super) fn checkbox(name: &str, label: &str, is_checked: bool) -> Markup {
    html! {
        label .check { input type="checkbox" name=(name) value="true" checked[is_checked]; " " (label) }
    }
}

/// One of the values of a list.
pub(super) fn list_choice(name: &str, value: &str, label: &Markup, is_checked: bool) -> Markup {
    html! {
        label .check { input type="checkbox" name=(name) value=(value) checked[is_checked]; " " (label) }
    }
}

/// A value that the person does not see.
pub(super) fn hidden(name: &str, value: &str) -> Markup {
    html! { input type="hidden" name=(name) value=(value); }
}
