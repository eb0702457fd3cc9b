//! Signals that are forwarded to the child program.

use std::io;

#[cfg(unix)]
use {
    rustix::process::{Pid, Signal, getpgrp, kill_process},
    rustix::termios::tcgetpgrp,
    std::future::poll_fn,
    std::task::Poll,
    tokio::signal::unix::{SignalKind, signal},
};

#[cfg(unix)]
const FORWARDED: [(SignalKind, Signal); 6] = [
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// The signals that no longer act on this process.
pub(super) struct ForwardedSignals {
    #[cfg(unix)]
    streams: Vec<(tokio::signal::unix::Signal, Signal)>,
}

/// A signal that arrived.
pub(super) struct ArrivedSignal {
    #[cfg(unix)]
    signal: Signal,
}

impl ForwardedSignals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            streams: FORWARDED
                .into_iter()
                .map(|(kind, number)| Ok((signal(kind)?, number)))
                .collect::<io::Result<_>>()?,
        })
    }

    /// Waits for the next one. It may be dropped without losing any.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> ArrivedSignal {
        poll_fn(|context| {
            let arrived = self.streams.iter_mut().find_map(|(stream, number)| {
                stream.poll_recv(context).is_ready().then_some(ArrivedSignal { signal: *number })
            });
            arrived.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits for ever: there are no signals to forward.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> ArrivedSignal {
        std::future::pending().await
    }
}

impl ArrivedSignal {
    /// Sends it to the program. Ctrl-C and Ctrl-\ at a terminal reach the whole foreground group, and with it the program,
    /// by themselves.
    #[cfg(unix)]
    pub(super) fn forward(&self, child: Option<u32>) {
        if matches!(self.signal, Signal::INT | Signal::QUIT) && is_in_foreground() {
            return;
        }
        let child = child.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(child) = child {
            let _ = kill_process(child, self.signal);
        }
    }

    #[cfg(not(unix))]
    pub(super) fn forward(&self, _: Option<u32>) {}
}

/// Whether this process is in the foreground of the terminal that it has as one of its streams.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    let own = getpgrp();
    [tcgetpgrp(io::stdin()), tcgetpgrp(io::stdout()), tcgetpgrp(io::stderr())].into_iter().any(|group| group == Ok(own))
}
