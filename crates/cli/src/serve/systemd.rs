//! Reports the state of the gateway to systemd: the protocol of sd_notify(3).

/// Sends a state, such as `READY=1`. Does nothing if no service manager waits for it. Ignores
/// errors: the gateway serves without its manager.
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "systemd passes the address in a variable")]
pub(super) fn notify(state: &str) {
    if let Some(address) = std::env::var_os("NOTIFY_SOCKET") {
        drop(linux::send(&address, state));
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn notify(_: &str) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::io;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::time::Duration;

    /// Maximum time to wait for a manager that reads nothing.
    const TIMEOUT: Duration = Duration::from_secs(1);

    /// Sends a state to a path, or to an abstract address, which begins with `@`.
    pub(super) fn send(address: &OsStr, state: &str) -> io::Result<()> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.send_to_addr(state.as_bytes(), &address).map(drop)
    }
}
