//! Sign-ins that wait for their callback, and how they ended.

use async_trait::async_trait;

use super::StoreError;
use crate::clock::Timestamp;
use crate::model::{NewSignIn, SignIn, SignInId, SignInResult, TakeSignInResult};

/// The sign-ins of a workspace.
///
/// The state of a sign-in is used up by the commit of [`Self::take`], before its code is exchanged: of any number of
/// processes that get the same callback, one goes on. The secrets of a sign-in are erased in the same commit.
#[async_trait]
pub trait SignIns: Send + Sync {
    /// Stores a sign-in, and deletes those whose retention is over.
    async fn begin(&self, new: &NewSignIn) -> Result<(), StoreError>;

    /// Returns a sign-in.
    async fn find(&self, id: &SignInId) -> Result<Option<SignIn>, StoreError>;

    /// Returns the sign-in with this hash of `state`, whether it was used or not.
    async fn find_by_state(&self, state_hash: &[u8; 32]) -> Result<Option<SignIn>, StoreError>;

    /// Uses up the state of a sign-in, and one use of its connect link.
    async fn take(&self, id: &SignInId, now: Timestamp) -> Result<TakeSignInResult, StoreError>;

    /// Stores how a sign-in ended, unless that is stored already. A failure gives back the use of the connect link.
    async fn finish(&self, id: &SignInId, result: &SignInResult, now: Timestamp) -> Result<(), StoreError>;

    /// Deletes the sign-ins to a connector that were begun and whose state is not used up, and returns their number.
    async fn withdraw(&self, connector: &str) -> Result<u64, StoreError>;

    /// Returns whether the vendor may be asked now whether the device code was entered: of several processes, one at a time
    /// asks, and no more often than in the interval. `now` is to the millisecond.
    async fn claim_poll(&self, id: &SignInId, now: Timestamp) -> Result<bool, StoreError>;

    /// Makes the interval longer by so many seconds (RFC 8628 section 3.5).
    async fn slow_down(&self, id: &SignInId, seconds: u32) -> Result<(), StoreError>;

    /// Deletes sign-ins whose retention is over, and returns their number.
    async fn prune(&self, now: Timestamp) -> Result<usize, StoreError>;
}
