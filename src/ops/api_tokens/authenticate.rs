//! What a server does with a token that is presented to it: authentication, the rate limit, and the record of its use.

use std::time::Duration;

use crate::error::Result;
use crate::model::{Admission, ApiToken, ApiTokenText, ApiUse};
use crate::runtime::Workspace;

/// The window of the rate limits.
pub const RATE_WINDOW: Duration = Duration::from_secs(60);

/// How exact the time of the last use is.
const USE_SECS: i64 = 60;

/// Returns the token that is presented, with the rights that it has now; `None` for a text that is not a token, and for a
/// token that is unknown, disabled or expired, or whose creator is. Rights that its creator has lost are not in it.
///
/// A text of another form, or with another checksum, is rejected before the store is asked.
pub async fn authenticate(workspace: &Workspace, presented: &str) -> Result<Option<ApiToken>> {
    let Some(text) = ApiTokenText::parse(presented) else { return Ok(None) };
    if !workspace.has_vault() {
        return Ok(None);
    }
    let (hash, now) = (text.hash(), workspace.clock.now());
    let tokens = workspace.store().await?.api_tokens();
    let found = tokens.find_by_hash(&hash).await?;
    let Some(token) = found.and_then(|found| found.effective(&hash, now)) else { return Ok(None) };
    let is_recent = |last: &i64| (now.as_second() - last).abs() < USE_SECS;
    if !token.last_used_at.is_some_and(|last| is_recent(&last.as_second())) {
        tokens.record_use(&token.id, now).await?;
    }
    Ok(Some(token))
}

/// Counts a request of a token against the limit of its tier, which it shares with the token that created it. `None` if the
/// token was revoked in the meantime.
pub async fn admit(workspace: &Workspace, token: &ApiToken) -> Result<Option<Admission>> {
    let limit = workspace.engine.config.rate_limits.of(token.tier);
    let now = workspace.clock.now_micros();
    Ok(workspace.store().await?.api_tokens().admit(&token.root, now, limit, RATE_WINDOW).await?)
}

/// Adds requests to the usage of their tokens. A server collects many of them for one commit.
pub async fn record_usage(workspace: &Workspace, uses: &[ApiUse]) -> Result<()> {
    Ok(workspace.store().await?.api_tokens().record_usage(uses).await?)
}
