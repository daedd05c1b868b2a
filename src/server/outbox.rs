//! The sending half of a connection: whoever has an answer appends it, one thread at a time sends, nobody
//! waits for the initiator.
//!
//! Many answers leave in one system call, without a timer: while the connection's thread still has requests
//! in its buffer it corks the outbox, and sends when the buffer is empty, or, while it can be filled again at
//! once, when half of what the initiator keeps out is answered ([`Outbox::gathers_on`]); a worker that has
//! more quick tasks of a unit holds it for a moment; and one that finishes while another thread is sending
//! only appends, and the sender takes what has come meanwhile. What the socket does not take is left to the
//! connection's thread, which is woken, so that a stalled initiator holds no worker. The lock covers
//! encoding, never a system call.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::iscsi::queue::{Front, Queue};
use crate::iscsi::send::Sender;
use crate::sys::socket::{Wake, send};
use crate::sys::thread;

/// Bytes queued beyond which the connection's thread takes no more requests until the initiator has read.
pub const HIGH_WATER_BYTES: usize = 4 << 20;
/// Bytes queued beyond which even a corked outbox is sent.
const CORK_BYTES: usize = 256 * 1024;

/// Reads answered with pages that the initiator may leave unacknowledged; those beyond are copied.
const MAX_LOANS: usize = 32;
/// Slices given to one send call.
const SLICES: usize = 256;

struct State {
    sender: Sender,
    /// Answers in order.
    queue: Queue,
    /// Taken out of `queue` to be sent; whoever set `is_sending` has it.
    batch: Queue,
    is_sending: bool,
    /// StatSN of the first answer that has not been taken out of `queue`.
    gathered_from: u32,
    is_corked: bool,
    /// The socket took not everything, or this was no thread to send pages: the connection's goes on when the
    /// socket is writable.
    is_blocked: bool,
    is_broken: bool,
}

impl State {
    /// Whether nobody sends and the socket has room, as far as is known.
    fn is_free(&self) -> bool {
        !self.is_sending && !self.is_blocked
    }
}

/// The sending half of a connection.
pub struct Outbox {
    socket: Arc<TcpStream>,
    wake: Wake,
    /// Answers gather while the outbox is corked.
    coalesces: bool,
    /// Workers that are about to bring more answers.
    holders: AtomicU32,
    /// As [`Sender::takes_pages`].
    takes_pages: bool,
    /// Loans that the initiator has not acknowledged; changed under the lock.
    loans: AtomicUsize,
    /// Bytes that the socket has taken; wraps. Written by whoever sends.
    taken: AtomicUsize,
    /// The socket was made one that never blocks: no other can be given pages by a thread that must not wait.
    never_blocks: AtomicBool,
    state: Mutex<State>,
}

impl Outbox {
    /// An outbox for a connection that enters full feature phase, corked. One that does not coalesce has each
    /// answer in a send call of its own after that.
    pub fn new(socket: Arc<TcpStream>, sender: Sender, coalesces: bool) -> io::Result<Self> {
        let state = State {
            gathered_from: sender.stat_sn(),
            sender,
            queue: Queue::new(),
            batch: Queue::new(),
            is_sending: false,
            is_corked: true,
            is_blocked: false,
            is_broken: false,
        };
        Ok(Outbox {
            socket,
            wake: Wake::new()?,
            coalesces,
            holders: AtomicU32::new(0),
            takes_pages: state.sender.takes_pages(),
            loans: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            never_blocks: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    /// Whether a store's own pages may be answered with now.
    pub fn takes_pages(&self) -> bool {
        if !self.takes_pages || self.loans.load(Ordering::Relaxed) >= MAX_LOANS {
            return false;
        }
        if !self.never_blocks.load(Ordering::Acquire) {
            if self.socket.set_nonblocking(true).is_err() {
                return false;
            }
            self.never_blocks.store(true, Ordering::Release);
            // The connection's thread is to wait otherwise from now on.
            self.wake.signal();
        }
        true
    }

    /// Whether the socket was made one that never blocks.
    pub fn never_blocks(&self) -> bool {
        self.never_blocks.load(Ordering::Acquire)
    }

    /// Whether the initiator has yet to acknowledge pages.
    #[inline]
    pub fn has_loans(&self) -> bool {
        self.loans.load(Ordering::Relaxed) > 0
    }

    /// The initiator has acknowledged what came before this StatSN.
    #[cold]
    pub fn acknowledge(&self, exp_stat_sn: u32) {
        self.end_loans(|oldest| matches!(exp_stat_sn.wrapping_sub(oldest), 1..0x8000_0000));
    }

    /// Whether fewer answers have gathered than half of those that the initiator had not received when it
    /// sent this ExpStatSN, and nothing keeps them from leaving.
    pub fn gathers_on(&self, exp_stat_sn: u32) -> bool {
        let state = self.lock();
        let next = state.sender.stat_sn();
        let out = match next.wrapping_sub(exp_stat_sn) {
            // No answer has such a number yet.
            0x8000_0000.. => 0,
            out => out,
        };
        self.coalesces && state.is_free() && next.wrapping_sub(state.gathered_from) < out / 2
    }

    /// The initiator has been waited for long enough: ends the loans up to this StatSN.
    pub fn forgive(&self, stat_sn: u32) {
        self.end_loans(|oldest| stat_sn.wrapping_sub(oldest) < 0x8000_0000);
    }

    /// Ends loans while `is_over` says so of the StatSN of the oldest, each without the lock.
    fn end_loans(&self, is_over: impl Fn(u32) -> bool) {
        loop {
            let mut state = self.lock();
            let loan = state.sender.end_loan(&is_over);
            self.loans.store(state.sender.loans(), Ordering::Relaxed);
            drop(state);
            if loan.is_none() {
                return;
            }
        }
    }

    /// The StatSNs of the oldest and the youngest loan, and whether all that was answered has left.
    pub fn waiting_loans(&self) -> Option<(u32, u32, bool)> {
        let state = self.lock();
        let (oldest, youngest) = state.sender.waiting_loans()?;
        Some((oldest, youngest, state.queue.is_empty() && state.batch.is_empty() && !state.is_sending))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What wakes the connection's thread when the socket has stopped taking output.
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Appends what `encode` writes and sends it, unless someone is about to. `encode` is called in any case.
    pub fn push(&self, encode: impl FnOnce(&mut Sender, &mut Queue)) {
        let mut state = self.lock();
        let State { sender, queue, .. } = &mut *state;
        encode(sender, queue);
        let loans = state.sender.loans();
        if loans > 0 {
            self.loans.store(loans, Ordering::Relaxed);
        }
        if state.is_broken {
            state.queue.clear();
            drop(state);
            return self.end_loans(|_| true);
        }
        // A holder that is about to release takes the lock after this.
        let gathers = state.is_corked || self.holders.load(Ordering::Acquire) > 0;
        if gathers && state.queue.bytes() < CORK_BYTES {
            return;
        }
        self.send_all(state);
    }

    /// Until [`Outbox::release`] answers only gather. Holders may be several.
    pub fn hold(&self) {
        if self.coalesces {
            self.holders.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Ends a hold; the last one sends what has gathered.
    pub fn release(&self) {
        if !self.coalesces || self.holders.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let state = self.lock();
        if !state.is_corked {
            self.send_all(state);
        }
    }

    /// Sends, unless another thread does or the socket is full. For any thread.
    fn send_all(&self, state: MutexGuard<'_, State>) {
        if state.is_free() && self.drain(state) {
            self.wake.signal();
        }
    }

    /// From now on answers only gather.
    pub fn cork(&self) {
        if self.coalesces {
            self.lock().is_corked = true;
        }
    }

    /// Sends what has gathered, and goes on gathering. For the connection's own thread.
    pub fn flush(&self) {
        let state = self.lock();
        if state.is_free() {
            self.drain(state);
        }
    }

    /// Sends what has gathered. For the connection's own thread.
    pub fn uncork(&self) {
        let mut state = self.lock();
        state.is_corked = false;
        if state.is_free() {
            self.drain(state);
        }
    }

    /// The socket takes output again. For the connection's own thread.
    pub fn resume(&self) {
        let mut state = self.lock();
        if state.is_blocked && !state.is_sending {
            state.is_blocked = false;
            self.drain(state);
        }
    }

    /// Whether the connection's thread must wait until the socket takes output.
    pub fn is_blocked(&self) -> bool {
        self.lock().is_blocked
    }

    /// Whether nothing waits to be sent, also in no other thread's hands.
    pub fn is_settled(&self) -> bool {
        let state = self.lock();
        state.is_free() && state.queue.is_empty() && state.batch.is_empty()
    }

    /// Bytes that the socket has taken; wraps. As long as it takes some, the initiator reads.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be sent.
    pub fn bytes(&self) -> usize {
        let state = self.lock();
        state.queue.bytes() + state.batch.bytes()
    }

    /// Nothing has happened for long: gives back the memory of what was sent.
    pub fn rest(&self) {
        let mut state = self.lock();
        if state.queue.is_empty() && state.batch.is_empty() && !state.is_sending {
            state.queue.clear();
            state.batch.clear();
        }
    }

    /// Nothing more will be sent.
    pub fn abandon(&self) {
        let mut state = self.lock();
        state.is_broken = true;
        state.queue.clear();
        drop(state);
        self.end_loans(|_| true);
    }

    /// Sends until nothing is left or the socket is full; `true` in the latter case.
    fn drain<'a>(&'a self, mut state: MutexGuard<'a, State>) -> bool {
        state.is_sending = true;
        let mut batch = std::mem::replace(&mut state.batch, Queue::new());
        loop {
            if batch.is_empty() {
                if state.queue.is_empty() || state.is_broken {
                    break;
                }
                std::mem::swap(&mut state.queue, &mut batch);
                state.gathered_from = state.sender.stat_sn();
            }
            drop(state);
            let sent = self.send(&mut batch);
            state = self.lock();
            match sent {
                Ok(true) => {}
                Ok(false) => {
                    state.is_blocked = true;
                    break;
                }
                Err(_) => {
                    // The error may be one of pages; half a PDU may have left.
                    let _ = self.socket.shutdown(Shutdown::Both);
                    state.is_broken = true;
                    state.queue.clear();
                    batch.clear();
                    break;
                }
            }
        }
        state.batch = batch;
        state.is_sending = false;
        state.is_blocked
    }

    /// One batch; `Ok(false)` when the socket takes no more for now.
    fn send(&self, batch: &mut Queue) -> io::Result<bool> {
        while !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let sent = match batch.front(&mut slices) {
                Front::Slices(count, follows) => send(self.socket.as_fd(), &slices[..count], follows),
                // The call for pages has no flag against SIGPIPE: another thread leaves them to ours.
                Front::Pages(..) if !thread::takes_no_signals() => return Ok(false),
                Front::Pages(held, length, follows) => {
                    batch.pages(held).map_or(Ok(0), |lent| lent.send(self.socket.as_fd(), length, follows))
                }
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => {
                    self.taken.store(self.taken().wrapping_add(sent), Ordering::Relaxed);
                    batch.advance(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::iscsi::parameters::Parameters;
    use crate::iscsi::send::Outgoing;
    use crate::iscsi::session::CommandWindow;

    fn sender() -> Sender {
        Sender::new(&Parameters::default(), Arc::new(CommandWindow::new(1, 8)), 1)
    }

    fn pong(number: usize) -> Outgoing {
        let length = [0, 5, 700, 8000][number % 4];
        Outgoing::Pong {
            itt: u32::try_from(number).unwrap(),
            data: vec![u8::try_from(number % 251).unwrap(); length],
        }
    }

    /// Takes what has come.
    fn read(peer: &mut TcpStream, into: &mut Vec<u8>) {
        let mut some = [0; 30_000];
        match peer.read(&mut some) {
            Ok(count) => into.extend_from_slice(&some[..count]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    #[test]
    fn nothing_that_is_queued_is_lost_when_memory_is_given_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nonblocking(true).unwrap();
        let outbox = Outbox::new(Arc::new(listener.accept().unwrap().0), sender(), true).unwrap();
        let (mut whole, mut alone) = (Queue::new(), sender());
        let (mut got, mut number, mut late) = (Vec::new(), 0, 0);
        while late < 1000 {
            let outgoing = pong(number);
            outbox.push(|sender, queue| sender.send(&outgoing, queue));
            alone.send(&outgoing, &mut whole);
            match number % 7 {
                0 => outbox.cork(),
                3 => outbox.uncork(),
                5 => outbox.resume(),
                _ => {}
            }
            let before = outbox.bytes();
            outbox.rest();
            assert_eq!(outbox.bytes(), before);
            number += 1;
            // The initiator reads when the socket takes no more.
            late += usize::from(late > 0 || outbox.is_blocked());
            if late > 0 {
                read(&mut peer, &mut got);
            }
        }
        let total = whole.bytes();
        outbox.uncork();
        while got.len() < total {
            outbox.resume();
            outbox.rest();
            read(&mut peer, &mut got);
        }
        assert_eq!(outbox.bytes(), 0);
        let mut slices = [IoSlice::new(&[]); 1];
        assert_eq!(whole.slices(&mut slices), 1);
        assert!(*slices[0] == *got);
    }

    #[test]
    fn pages_are_sent_by_threads_that_take_no_signals_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Arc::new(listener.accept().unwrap().0);
        let outbox = Arc::new(Outbox::new(socket, sender(), true).unwrap());
        assert!(outbox.takes_pages() && outbox.never_blocks());
        outbox.uncork();
        let exe = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let mut lent = crate::backstore::buffer::BufferPool::new(0).pipes().take().unwrap();
        assert!(lent.pipe().unwrap().fill(&exe, 0, 40_000).unwrap());
        outbox.push(|sender, queue| {
            sender.send(&pong(1), queue);
            let held = queue.hold_pages(lent);
            queue.push_pages([9; 48], held, 40_000, true, Default::default());
        });
        assert!(outbox.is_blocked(), "this thread is the test's");
        // What comes before the pages has left; their own thread sends the rest.
        let mut got = vec![0; 48 + 8 + 48 + 40_000];
        peer.read_exact(&mut got[..56]).unwrap();
        let own = Arc::clone(&outbox);
        crate::sys::thread::spawn("pages".to_owned(), 1 << 18, move || own.resume()).unwrap();
        peer.read_exact(&mut got[56..]).unwrap();
        let content = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(got[64..104] == [9; 40] && got[104..] == content[..40_000]);
    }
}
