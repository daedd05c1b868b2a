//! Sockets that somebody else has opened: looked at before they are believed.

use std::fmt;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// What a socket must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// A TCP socket that listens.
    Listening,
    /// A TCP socket that is connected.
    Connected,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Given::Listening => "a TCP socket that listens",
            Given::Connected => "a TCP socket that is connected",
        })
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn option(socket: RawFd, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: `value` has `length` bytes; a wrong descriptor is an error.
    let result =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

fn has_peer(socket: RawFd) -> io::Result<()> {
    // SAFETY: all zeros are a valid address of no family.
    let mut peer: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&peer)).unwrap_or(0);
    // SAFETY: `peer` has `length` bytes; a wrong descriptor is an error.
    let result = unsafe { libc::getpeername(socket, (&raw mut peer).cast(), &raw mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Status flags of a descriptor, which its duplicates share with it.
pub struct Status(libc::c_int);

impl Status {
    /// Those that it has now.
    pub fn of(descriptor: RawFd) -> io::Result<Self> {
        // SAFETY: fcntl takes no pointers here; a wrong descriptor is an error.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
        if flags < 0 { Err(io::Error::last_os_error()) } else { Ok(Status(flags)) }
    }

    /// Gives them back to it.
    pub fn restore(self, descriptor: RawFd) {
        // SAFETY: as above.
        unsafe { libc::fcntl(descriptor, libc::F_SETFL, self.0) };
    }
}

impl Given {
    fn check(self, socket: RawFd) -> io::Result<()> {
        let is_stream = option(socket, libc::SO_TYPE)? == libc::SOCK_STREAM;
        let is_ip = matches!(option(socket, libc::SO_DOMAIN)?, libc::AF_INET | libc::AF_INET6);
        if !is_stream || !is_ip || option(socket, libc::SO_PROTOCOL)? != libc::IPPROTO_TCP {
            return Err(error(libc::EPROTONOSUPPORT));
        }
        let listens = option(socket, libc::SO_ACCEPTCONN)? != 0;
        match self {
            Given::Listening if !listens => Err(error(libc::EINVAL)),
            Given::Connected if listens => Err(error(libc::EINVAL)),
            Given::Connected => has_peer(socket),
            Given::Listening => Ok(()),
        }
    }

    /// A descriptor of our own for the socket, close-on-exec; both are set to blocking.
    pub fn duplicate(self, socket: RawFd) -> io::Result<OwnedFd> {
        self.check(socket)?;
        // SAFETY: fcntl takes no pointers here.
        let own = unsafe { libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, 0) };
        if own < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let own = unsafe { OwnedFd::from_raw_fd(own) };
        let socket = std::net::TcpStream::from(own);
        socket.set_nonblocking(false)?;
        Ok(socket.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;

    #[test]
    fn only_what_is_wanted_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let errno =
            |given: Given, socket: RawFd| given.duplicate(socket).err().and_then(|e| e.raw_os_error());
        assert_eq!(errno(Given::Listening, listener.as_raw_fd()), None);
        assert_eq!(errno(Given::Connected, connected.as_raw_fd()), None);
        assert_eq!(errno(Given::Connected, listener.as_raw_fd()), Some(libc::EINVAL));
        assert_eq!(errno(Given::Listening, connected.as_raw_fd()), Some(libc::EINVAL));
        assert_eq!(errno(Given::Connected, datagrams.as_raw_fd()), Some(libc::EPROTONOSUPPORT));
        assert_eq!(errno(Given::Connected, file.as_raw_fd()), Some(libc::ENOTSOCK));
        assert_eq!(errno(Given::Connected, -1), Some(libc::EBADF));
    }
}
