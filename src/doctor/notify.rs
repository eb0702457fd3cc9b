//! Checks that `[notify]` can deliver notifications.

use super::system::find_program;
use super::{DoctorContext, Finding};
use crate::config::NotifyConfig;
use crate::http::HttpError;
use crate::http::egress::EgressGuard;
use crate::notify::{NotifyError, signing_secret};
use crate::program::ProgramError;

pub(super) fn check_notify(around: &DoctorContext) -> Vec<Finding> {
    let notify = &around.config.notify;
    if notify.command.is_none() && notify.url.is_none() {
        return vec![Finding::ok("notify", "no hook is set")];
    }
    let mut findings = Vec::new();
    if notify.on.is_empty() {
        let fix = "integ config set notify.on needs_reauth,failure,recovery";
        findings.push(Finding::warning("notify", "a hook is set, but notify.on is empty", fix));
    }
    findings.extend(notify.command.as_deref().map(command));
    if notify.url.is_some() {
        findings.push(url(notify, &EgressGuard::new(&around.config.http.allow)));
    }
    findings
}

fn command(command: &str) -> Finding {
    let Some(program) = shlex::split(command).and_then(|words| words.into_iter().next()) else {
        return Finding::failure("notify", NotifyError::Program(ProgramError::InvalidQuoting));
    };
    if find_program(&program).is_some() {
        return Finding::ok("notify", format!("the command is {program}"));
    }
    let fix = Some("integ config set notify.command COMMAND".to_owned());
    Finding::error("notify", format!("the command's program {program} is not there"), fix)
}

fn url(notify: &NotifyConfig, guard: &EgressGuard) -> Finding {
    let Some(url) = &notify.url else { return Finding::failure("notify", NotifyError::NoSecret) };
    if let Err(error) = signing_secret(notify) {
        return Finding::failure("notify", error);
    }
    // A name is judged when it is called: the resolver is not asked here.
    match guard.check(url) {
        Ok(()) => Finding::ok("notify", format!("signed posts go to {}", url.host_str().unwrap_or_default())),
        Err(refusal) => Finding::failure("notify", HttpError::from(refusal)),
    }
}
