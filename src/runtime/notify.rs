//! Notifications that a connection broke or recovered.

use std::pin::Pin;

use crate::model::Notification;

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Delivers notifications. [`crate::notify::Notifier`] runs the user's hooks.
pub trait Notify: Send + Sync {
    /// Begins to deliver a notification, and returns at once. Must be called inside the runtime.
    fn notify(&self, notification: Notification);

    /// Waits until every notification is delivered or abandoned, or until `stop` resolves, which abandons the rest.
    fn finish<'a>(&'a self, stop: BoxFuture<'a, ()>) -> BoxFuture<'a, ()>;
}
