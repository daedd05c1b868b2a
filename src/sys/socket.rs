//! Socket calls that std lacks: vectored receive and send with flags, poll, a wake-up descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Most slices that one call to [`send`] takes (the kernel's UIO_MAXIOV).
pub const MAX_SLICES: usize = 1024;

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Receives into the slices in turn; 0 means that the peer has closed. With `wait`, blocks until there is
/// something (or the socket's receive time-out has passed: `WouldBlock`).
pub fn receive(socket: BorrowedFd<'_>, into: &mut [IoSliceMut<'_>], wait: bool) -> io::Result<usize> {
    // SAFETY: msghdr is plain data for which all zeros is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = into.as_mut_ptr().cast();
    message.msg_iovlen = into.len() as _;
    let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: IoSliceMut has the layout of iovec, and `into` outlives the call.
    checked(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })
}

/// Sends what fits of the slices without waiting and without SIGPIPE. With `more`, something follows at once.
pub fn send(socket: BorrowedFd<'_>, from: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    // SAFETY: msghdr is plain data for which all zeros is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = from.as_ptr().cast_mut().cast();
    message.msg_iovlen = from.len().min(MAX_SLICES) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: IoSlice has the layout of iovec, sendmsg only reads through it, and `from` outlives the call.
    checked(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) })
}

/// Sends `header` and, behind it, `length` bytes of `file` from `offset` on that the process never sees
/// (sendfile(2)), on a socket that blocks. A file that is shorter is an error.
pub fn send_file(
    socket: BorrowedFd<'_>,
    header: &[u8],
    file: &File,
    offset: u64,
    length: usize,
) -> io::Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_MORE;
    let mut left = header;
    while !left.is_empty() {
        // SAFETY: `left` is initialised memory of its length, which send only reads.
        let sent =
            checked(unsafe { libc::send(socket.as_raw_fd(), left.as_ptr().cast(), left.len(), flags) });
        left = &left[sent?..];
    }
    let mut from = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    let mut left = length;
    while left > 0 {
        // SAFETY: the offset is a number of this frame, which the kernel advances.
        let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut from, left) };
        match checked(sent)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            sent => left -= sent.min(left),
        }
    }
    Ok(())
}

/// What [`wait`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// The socket has input, was closed, or failed.
    pub readable: bool,
    /// The socket takes output.
    pub writable: bool,
    /// The wake-up descriptor was signalled.
    pub woken: bool,
}

/// Waits until the socket is ready for what is asked, or `wake` is signalled, or `timeout` has passed.
pub fn wait(
    socket: BorrowedFd<'_>,
    wake: &Wake,
    input: bool,
    output: bool,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let events = if input { libc::POLLIN } else { 0 } | if output { libc::POLLOUT } else { 0 };
    let mut polled = [
        libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 },
        libc::pollfd { fd: wake.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `polled` is an array of two initialised entries, and `timeout` null or an initialised time;
    // both outlive the call. No set of signals is given.
    let result = unsafe { libc::ppoll(polled.as_mut_ptr(), 2, timeout, std::ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(Ready::default()) } else { Err(error) };
    }
    let failed = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
    Ok(Ready {
        readable: polled[0].revents & (libc::POLLIN | failed) != 0,
        writable: polled[0].revents & (libc::POLLOUT | failed) != 0,
        woken: polled[1].revents != 0,
    })
}

/// Wakes a thread that is in [`wait`].
#[derive(Debug)]
pub struct Wake {
    descriptor: OwnedFd,
}

impl Wake {
    /// A descriptor that is not signalled.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        Ok(Wake { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Signals it.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes are read from `one`. A full counter is signalled already.
        let _ = unsafe { libc::write(self.descriptor.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Takes the signal back.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight bytes are written to `count`. An empty counter answers EAGAIN.
        let _ = unsafe { libc::read(self.descriptor.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the option value is a `T` of the length given, alive during the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A listening socket. An IPv6 address takes IPv6 only, so that `0.0.0.0` and `[::]` can stand side by side.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: socket takes no pointers.
    let descriptor = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let on: libc::c_int = 1;
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, on)?;
    if address.is_ipv6() {
        set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, on)?;
    }
    bind(socket.as_fd(), address)?;
    // SAFETY: listen takes no pointers.
    if unsafe { libc::listen(socket.as_raw_fd(), backlog) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpListener::from(socket))
}

fn family_field(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or(0)
}

fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> io::Result<()> {
    let result = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: family_field(libc::AF_INET),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            let length = libc::socklen_t::try_from(size_of_val(&raw)).unwrap_or(0);
            // SAFETY: `raw` is an initialised address of the length given.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), length) }
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: family_field(libc::AF_INET6),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            let length = libc::socklen_t::try_from(size_of_val(&raw)).unwrap_or(0);
            // SAFETY: `raw` is an initialised address of the length given.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), length) }
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends a blocked `accept` on a listening socket: it and all later ones fail.
pub fn stop_listening(socket: BorrowedFd<'_>) {
    // SAFETY: shutdown takes no pointers.
    let _ = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Bounds how long unacknowledged output may stay unacknowledged before the kernel drops the connection
/// (TCP_USER_TIMEOUT, milliseconds).
pub fn set_user_timeout(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let milliseconds = libc::c_uint::try_from(timeout.as_millis()).unwrap_or(libc::c_uint::MAX);
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Instant;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn slices_arrive_in_order() {
        let (one, two) = pair();
        let sent = send(one.as_fd(), &[IoSlice::new(b"abc"), IoSlice::new(b"defg")], false).unwrap();
        assert_eq!(sent, 7);
        let (mut head, mut tail) = ([0; 3], [0; 8]);
        let mut slices = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(receive(two.as_fd(), &mut slices, true).unwrap(), 7);
        assert_eq!((&head, &tail[..4]), (b"abc", &b"defg"[..]));
    }

    #[test]
    fn both_families_listen_on_one_port() {
        let four = listen("0.0.0.0:0".parse().unwrap(), 8).unwrap();
        let port = four.local_addr().unwrap().port();
        if let Ok(six) = listen(SocketAddr::new("::".parse().unwrap(), port), 8) {
            assert_eq!(six.local_addr().unwrap().port(), port);
        }
        let accepting = std::thread::spawn(move || four.accept().map(|_| four));
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let four = accepting.join().unwrap().unwrap();
        drop(client);
        stop_listening(four.as_fd());
        assert!(four.accept().is_err());
    }

    #[test]
    fn wait_sees_output_and_wake_ups() {
        let (one, _two) = pair();
        let wake = Wake::new().unwrap();
        let ready = wait(one.as_fd(), &wake, true, true, None).unwrap();
        assert_eq!(ready, Ready { readable: false, writable: true, woken: false });
        wake.signal();
        assert!(wait(one.as_fd(), &wake, true, false, None).unwrap().woken);
        wake.clear();
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(1500)] {
            let start = Instant::now();
            let ready = wait(one.as_fd(), &wake, true, false, Some(timeout)).unwrap();
            assert_eq!(ready, Ready::default());
            assert!(start.elapsed() >= timeout, "{timeout:?}");
        }
        wake.signal();
        assert!(wait(one.as_fd(), &wake, true, false, Some(Duration::MAX)).unwrap().woken);
    }
}
