//! The browser's page at the end of a sign-in, in the design of the sandbox's consent page.

use crate::error::Hint;
use crate::http::html::{document, escape, policy};
use crate::http::serve::{self, FullResponse, StatusCode};

/// The last page of a sign-in. Its texts may come from outside; they are escaped here.
#[derive(Clone, Debug)]
pub struct OutcomePage {
    /// The service's name: `Slack`.
    pub service: String,
    pub is_sandbox: bool,
    pub outcome: SignInOutcome,
}

/// How a sign-in ended, as far as the browser is concerned.
#[derive(Clone, Debug)]
pub enum SignInOutcome {
    Connected {
        /// The connection's name: `slack@work`.
        connection: String,
        /// Whose account it is, if the service says so.
        account: Option<String>,
    },
    Failed {
        reason: String,
        hint: Option<Hint>,
    },
    /// A question waits at the terminal.
    Asking,
}

impl OutcomePage {
    pub(super) fn response(&self) -> FullResponse {
        let service = escape(&self.service);
        let (sign, title, rest) = match &self.outcome {
            SignInOutcome::Connected { connection, account } => {
                let account = account.as_ref().map(|account| format!("Account <b>{}</b>, saved ", escape(account)));
                let begin = account.unwrap_or_else(|| "Saved ".to_owned());
                let text = format!("<p>{begin}as connection <b>{}</b>.</p>", escape(connection));
                let text = format!("{text}<footer>You can close this page and go back to the terminal.</footer>");
                (("good", "✓"), format!("{service} is connected"), text)
            }
            SignInOutcome::Failed { reason, hint } => {
                let mut text = format!("<p>{}</p>", escape(&sentence(reason)));
                if let Some(hint) = hint {
                    let lead = if hint.text.is_empty() { "To continue, run this in the terminal:" } else { &hint.text };
                    text.push_str(&format!("<p>{}</p>", escape(&sentence(lead))));
                    let command = hint.command.as_ref().map(|command| format!("<pre>{}</pre>", escape(command)));
                    text.push_str(&command.unwrap_or_default());
                }
                text.push_str("<footer>You can close this page; the terminal shows the same message.</footer>");
                (("bad", "✕"), format!("{service} was not connected"), text)
            }
            SignInOutcome::Asking => {
                let text = "<p>There is one more question in the terminal.</p>\
                            <footer>You can close this page.</footer>";
                (("wait", "…"), format!("{service} granted access"), text.to_owned())
            }
        };
        let (kind, sign) = sign;
        let mark =
            if self.is_sandbox { "<span class=\"mark\">SANDBOX</span>" } else { "<span class=\"name\">integ</span>" };
        let body = format!("{mark}<div class=\"sign {kind}\" aria-hidden=\"true\">{sign}</div><h1>{title}</h1>{rest}");
        html(StatusCode::OK, &document("integ", &body))
    }
}

/// A page of one sentence of integ's own. Nothing of the request is ever put into it (fault 37).
pub(super) fn notice(status: StatusCode, sentence: &str) -> FullResponse {
    let body = format!(
        "<span class=\"name\">integ</span><h1>{}</h1><footer>Go back to the terminal: it shows the address to open, or the \
         result.</footer>",
        escape(sentence)
    );
    html(status, &document("integ", &body))
}

fn html(status: StatusCode, page: &str) -> FullResponse {
    serve::page(status, "text/html; charset=utf-8", page, &format!("{}; form-action 'none'", policy()))
}

/// A message of the terminal, which begins in lower case, as a sentence of a page.
pub fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let text = format!("{first}{}", letters.as_str());
    if text.ends_with(['.', ':', '!', '?']) { text } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn text(outcome: SignInOutcome) -> String {
        let page = OutcomePage { service: "A<b>".to_owned(), is_sandbox: false, outcome };
        let body = page.response().into_body();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        String::from_utf8(runtime.block_on(body.collect()).unwrap().to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_page_names_the_account_or_the_reason_and_the_next_command() {
        let page =
            text(SignInOutcome::Connected { connection: "slack@work".into(), account: Some("Acme & Co".into()) });
        assert!(page.contains("A&lt;b&gt; is connected") && page.contains("Account <b>Acme &amp; Co</b>"), "{page}");
        assert!(page.contains("<b>slack@work</b>"), "{page}");
        let hint = Some(Hint::new("run it again:", "integ connect slack"));
        let page = text(SignInOutcome::Failed { reason: "the user said <no>".into(), hint });
        for part in
            ["was not connected", "The user said &lt;no&gt;.", "Run it again:", "<pre>integ connect slack</pre>"]
        {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(text(SignInOutcome::Asking).contains("question in the terminal"));
    }
}
