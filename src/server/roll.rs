//! How many connections there are, and how many of them have still to log in, by where they come from.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Most connections that have not logged in yet; more are closed at once. Of what others leave free one
/// source may have half, so that whoever opens connections and says nothing keeps nobody else out; only ten
/// such sources leave no more than one free.
pub const LOGIN_LIMIT: usize = 1024;

/// Counts the connections' threads. Apart from [`super::Shared`], which a thread has given back when it is
/// counted out: with it goes what the host holds, to the last device.
#[derive(Default)]
pub(super) struct Roll {
    threads: Mutex<Threads>,
    thread_ended: Condvar,
}

#[derive(Default)]
struct Threads {
    connections: usize,
    logins: usize,
    /// Those logging in, by their source; none has 0.
    by_source: HashMap<IpAddr, usize>,
}

/// Where a connection comes from: an address, or the 64 bits of one that a host is mostly given whole.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

impl Threads {
    fn login_is_over(&mut self, from: IpAddr) {
        self.logins -= 1;
        let from = source(from);
        if let Some(count) = self.by_source.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&from);
            }
        }
    }
}

impl Roll {
    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of connections.
    pub(super) fn connections(&self) -> usize {
        self.threads().connections
    }

    /// Counts a connection in, if so many may be logging in; else answers how many already do from there.
    pub(super) fn admit(&self, from: IpAddr) -> Result<(), usize> {
        let mut threads = self.threads();
        let count = threads.by_source.get(&source(from)).copied().unwrap_or(0);
        if count >= LOGIN_LIMIT - threads.logins {
            return Err(count);
        }
        threads.by_source.insert(source(from), count + 1);
        threads.logins += 1;
        threads.connections += 1;
        Ok(())
    }

    /// A connection has logged in.
    pub(super) fn login_is_over(&self, from: IpAddr) {
        self.threads().login_is_over(from);
    }

    /// Counts a connection out.
    pub(super) fn connection_ended(&self, from: IpAddr, was_logging_in: bool) {
        let mut threads = self.threads();
        threads.connections -= 1;
        if was_logging_in {
            threads.login_is_over(from);
        }
        self.thread_ended.notify_all();
    }

    /// Waits until there are no connections, at most until then.
    pub(super) fn await_none(&self, until: Instant) {
        let mut threads = self.threads();
        while threads.connections > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.thread_ended.wait_timeout(threads, left);
            threads = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn take_all(roll: &Roll, from: &str) -> usize {
        (0..).take_while(|_| roll.admit(address(from)).is_ok()).count()
    }

    #[test]
    fn silent_connections_from_one_source_keep_nobody_else_out() {
        let roll = Roll::default();
        assert_eq!(take_all(&roll, "192.0.2.1"), 512);
        assert_eq!(roll.admit(address("192.0.2.1")), Err(512));
        // The same source by another name.
        assert_eq!(roll.admit(address("::ffff:192.0.2.1")), Err(512));
        assert_eq!(take_all(&roll, "2001:db8::1"), 256);
        assert_eq!(roll.admit(address("2001:db8::ffff:2")), Err(256), "of the same 64 bits");
        assert_eq!(take_all(&roll, "2001:db8:0:1::1"), 128);
        assert_eq!(roll.connections(), 896);
        roll.admit(address("192.0.2.2")).unwrap();
    }

    #[test]
    fn what_has_logged_in_or_gone_makes_room() {
        let roll = Roll::default();
        let (from, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(take_all(&roll, "192.0.2.1"), 512);
        roll.login_is_over(from);
        assert_eq!(roll.admit(from), Ok(()));
        (0..512).for_each(|_| roll.login_is_over(from));
        assert_eq!(take_all(&roll, "192.0.2.1"), 512);
        (0..513).for_each(|_| roll.connection_ended(from, false));
        (0..512).for_each(|_| roll.connection_ended(from, true));
        assert_eq!(roll.connections(), 0);
        roll.await_none(Instant::now());
        assert_eq!(take_all(&roll, "192.0.2.2"), 512);
        (0..512).for_each(|_| roll.connection_ended(other, true));
        let threads = roll.threads();
        assert_eq!((threads.by_source.len(), threads.logins), (0, 0));
    }
}
