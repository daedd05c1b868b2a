//! Pipes through which pages of a file come to a socket without a copy (splice(2)).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Bytes that one place of a pipe holds at most.
const PAGE: usize = 4096;

/// A pipe that holds pages of files. What is in it is the file's own memory: who writes the file changes it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Pages that it has room for.
    places: usize,
    bytes: usize,
}

impl Pipe {
    /// An empty pipe with room for `bytes` bytes of whole pages. EPERM when the user has as many pipes as the
    /// system lets one have (`/proc/sys/fs/pipe-user-pages-soft`).
    pub fn new(bytes: usize) -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: `ends` has room for the two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let [read, write] = ends.map(|end| {
            // SAFETY: the descriptor was just opened and belongs to nobody else.
            unsafe { OwnedFd::from_raw_fd(end) }
        });
        let mut pipe = Pipe { read, write, places: 0, bytes: 0 };
        pipe.grow(bytes)?;
        Ok(pipe)
    }

    /// Makes room for `bytes` bytes of whole pages.
    fn grow(&mut self, bytes: usize) -> io::Result<()> {
        let wanted = libc::c_int::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: no pointer is given.
        let room = unsafe { libc::fcntl(self.write.as_raw_fd(), libc::F_SETPIPE_SZ, wanted) };
        let room = usize::try_from(room).map_err(|_| io::Error::last_os_error())?;
        self.places = room / PAGE;
        Ok(())
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Puts `length` bytes of `file` from `offset` on into the empty pipe; waits for the medium where they
    /// are not in memory. `false` when they are not all there, or the system gives no pipe that long: what is
    /// in it then is of no use.
    pub fn fill(&mut self, file: &File, offset: u64, length: usize) -> io::Result<bool> {
        let start = usize::try_from(offset % PAGE as u64).map_err(io::Error::other)?;
        let pages = (start + length).div_ceil(PAGE);
        if self.bytes > 0 || (pages > self.places && self.grow(pages * PAGE).is_err()) {
            return Ok(false);
        }
        let mut from = libc::loff_t::try_from(offset).map_err(io::Error::other)?;
        while self.bytes < length {
            let (file, pipe) = (file.as_raw_fd(), self.write.as_raw_fd());
            let left = length - self.bytes;
            let flags = libc::SPLICE_F_NONBLOCK;
            // SAFETY: the offset is a number of this frame, which the kernel advances; the other is none.
            let moved = unsafe { libc::splice(file, &raw mut from, pipe, std::ptr::null_mut(), left, flags) };
            match usize::try_from(moved) {
                Ok(0) => return Ok(false),
                Ok(moved) => self.bytes += moved,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    // Pages that are not whole take more places than were counted.
                    error if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    error => return Err(error),
                },
            }
        }
        Ok(true)
    }

    /// Sends up to `length` bytes of what is in it on a socket that does not block (O_NONBLOCK: no flag of
    /// the call would do). With `more`, something follows at once.
    pub fn send(&mut self, socket: BorrowedFd<'_>, length: usize, more: bool) -> io::Result<usize> {
        let flags = libc::SPLICE_F_NONBLOCK | if more { libc::SPLICE_F_MORE } else { 0 };
        let (pipe, socket, none) = (self.read.as_raw_fd(), socket.as_raw_fd(), std::ptr::null_mut());
        let length = length.min(self.bytes);
        // SAFETY: no pointer is given.
        let moved = unsafe { libc::splice(pipe, none, socket, none, length, flags) };
        let moved = usize::try_from(moved).map_err(|_| io::Error::last_os_error())?;
        self.bytes -= moved.min(self.bytes);
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn file(content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("scstu-pipe-{}-{}", std::process::id(), content.len()));
        let mut file =
            File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_put_in_comes_out_on_the_socket() {
        let content: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
        let file = file(&content);
        let (socket, mut peer) = connected();
        socket.set_nonblocking(true).unwrap();
        for (offset, length) in [(0, 4096), (512, 65_536), (4096, 131_072), (299_488, 512)] {
            let mut pipe = Pipe::new(1 << 20).unwrap();
            assert!(pipe.fill(&file, offset as u64, length).unwrap(), "{offset} {length}");
            let (mut out, mut got) = (0, vec![0; length]);
            while out < length {
                match pipe.send(socket.as_fd(), 50_000, out + 50_000 < length) {
                    Ok(sent) => {
                        peer.read_exact(&mut got[out..out + sent]).unwrap();
                        out += sent;
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            assert!(pipe.is_empty() && got == content[offset..offset + length], "{offset} {length}");
        }
    }

    #[test]
    fn what_is_not_there_or_does_not_fit_is_said() {
        let file = file(&[7; 10_000]);
        assert!(!Pipe::new(1 << 16).unwrap().fill(&file, 8192, 4096).unwrap(), "behind the end");
        let mut pipe = Pipe::new(1 << 12).unwrap();
        assert!(pipe.fill(&file, 0, 10_000).unwrap(), "it grows");
        assert!(!pipe.fill(&file, 0, 100).unwrap(), "it is not empty");
        assert!(!Pipe::new(1 << 12).unwrap().fill(&file, 0, 1 << 30).unwrap(), "no pipe is so long");
    }

    #[test]
    fn a_socket_that_is_full_blocks_nobody() {
        let file = file(&vec![1; 1 << 20]);
        let (socket, _peer) = connected();
        socket.set_nonblocking(true).unwrap();
        let mut pipe = Pipe::new(1 << 20).unwrap();
        let error = loop {
            if pipe.is_empty() {
                assert!(pipe.fill(&file, 0, 1 << 20).unwrap());
            }
            if let Err(error) = pipe.send(socket.as_fd(), 1 << 20, false) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(!pipe.is_empty());
    }
}
