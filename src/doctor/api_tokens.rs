//! Checks the tokens of the HTTP API: those that end soon or that their schedule wants to be rotated.

use super::Finding;
use crate::clock::Timestamp;
use crate::model::{ApiToken, ApiTokenStatus};

/// What the findings are about.
const CHECK: &str = "api tokens";

/// Returns a finding for each token that needs its owner, and one for all others. No tokens are not worth a finding.
pub(super) fn check_api_tokens(tokens: &[ApiToken], now: Timestamp) -> Vec<Finding> {
    let reports: Vec<Finding> = tokens.iter().filter_map(|token| report(token, now)).collect();
    if !reports.is_empty() || tokens.is_empty() {
        return reports;
    }
    let usable = tokens.iter().filter(|token| token.is_usable(now)).count();
    vec![Finding::ok(CHECK, format!("{usable} of {} can be used", tokens.len()))]
}

fn report(token: &ApiToken, now: Timestamp) -> Option<Finding> {
    let days = |at: Timestamp| (at.as_second() - now.as_second()).abs() / 86_400;
    let is_due = token.rotation_due_at().is_some_and(|due| due <= now);
    let problem = match token.status(now) {
        ApiTokenStatus::Expiring => format!("expires in {} days", days(token.expires_at)),
        ApiTokenStatus::Expired => format!("ended {} days ago", days(token.expires_at)),
        ApiTokenStatus::Active if is_due => "is due for rotation by its schedule".to_owned(),
        ApiTokenStatus::Active | ApiTokenStatus::Disabled => return None,
    };
    let command = format!("integ api-token rotate {}", token.id);
    Some(Finding::warning(CHECK, format!("{} {problem}", token.name), command))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{ApiTokenId, ApprovalPolicy, RateTier, ScopeGrant};

    #[test]
    fn a_token_that_ends_within_two_weeks_or_is_due_is_reported_with_its_command() {
        let at = |day: i64| Timestamp::from_second(day * 86_400).unwrap();
        let id = ApiTokenId::random();
        let token = ApiToken {
            name: "ci".parse().unwrap(),
            user: None,
            scopes: vec![ScopeGrant::known("read:*").unwrap()],
            connections: None,
            tier: RateTier::Free,
            created_at: at(0),
            rotated_at: at(0),
            expires_at: at(100),
            last_used_at: None,
            is_enabled: true,
            parent: None,
            root: id.clone(),
            rotate_after: None,
            approve: ApprovalPolicy::None,
            trust: None,
            id,
        };
        let found = |token: &ApiToken, day| {
            let findings = check_api_tokens(std::slice::from_ref(token), at(day));
            findings.into_iter().map(|finding| (finding.message, finding.fix)).collect::<Vec<_>>()
        };
        let command = Some(format!("integ api-token rotate {}", token.id));
        assert_eq!(found(&token, 85), [("1 of 1 can be used".to_owned(), None)]);
        assert_eq!(found(&token, 86), [("ci expires in 14 days".to_owned(), command.clone())]);
        assert_eq!(found(&token, 103), [("ci ended 3 days ago".to_owned(), command.clone())]);
        let scheduled = ApiToken { rotate_after: Some(Duration::from_secs(30 * 86_400)), ..token.clone() };
        assert_eq!(found(&scheduled, 30), [("ci is due for rotation by its schedule".to_owned(), command)]);
        let disabled = ApiToken { is_enabled: false, ..token };
        assert_eq!(found(&disabled, 99), [("0 of 1 can be used".to_owned(), None)]);
        assert!(check_api_tokens(&[], at(0)).is_empty());
    }
}
