//! Notices to the service manager (sd_notify(3)): that the server is ready, that it ends, and that it is alive.

#[cfg(unix)]
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::env;

/// The service manager that started this process, if one did.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    #[cfg(unix)]
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Connects to the service manager that the environment names. One that cannot be reached is left alone: it has its own
    /// time limits.
    pub(super) fn from_env() -> Self {
        Self {
            #[cfg(unix)]
            socket: env::var_os(&env::NOTIFY_SOCKET).and_then(|path| connect(&path).ok()),
            watchdog: watchdog(),
        }
    }

    /// Returns how often it wants to hear that the process is alive; None if it does not.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says that requests are answered.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Says that the process is about to end.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Finishing what has begun");
    }

    /// Says that the process is alive.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    #[cfg(unix)]
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(state.as_bytes());
        }
    }

    #[cfg(not(unix))]
    fn send(&self, _: &str) {}
}

#[cfg(unix)]
fn connect(path: &std::ffi::OsStr) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold up the server.
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(path).strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        return Ok(socket);
    }
    socket.connect(path)?;
    Ok(socket)
}

/// Half of what the manager waits for, as sd_watchdog_enabled(3) recommends.
fn watchdog() -> Option<Duration> {
    let owner = env::var(&env::WATCHDOG_PID);
    if owner.is_some_and(|owner| owner.parse() != Ok(std::process::id())) {
        return None;
    }
    let limit = env::var(&env::WATCHDOG_USEC)?.parse().ok().filter(|limit| *limit > 0)?;
    Some((Duration::from_micros(limit) / 2).max(Duration::from_millis(1)))
}
