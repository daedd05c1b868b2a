//! A program that serves until its standard input ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::common::wait_for;

/// How long it may take to say something, or to end.
const DEADLINE: Duration = Duration::from_secs(120);

pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

fn reader(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = child.stdin.take();
        let lines = reader(child.stdout.take().unwrap());
        let errors = reader(child.stderr.take().unwrap());
        Program { child, input, lines, errors }
    }

    /// What it says next.
    pub fn line(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            let _ = self.child.kill();
            let errors: Vec<String> = self.errors.iter().collect();
            panic!("it says nothing: {:?}\n{}", self.child.wait(), errors.join("\n"))
        })
    }

    pub fn write(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends its input, which it may take its time to act on.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Ends its input; answers what it has still said. It must end well.
    pub fn end(mut self) -> Vec<String> {
        self.close_input();
        let status = wait_for(&mut self.child, DEADLINE);
        if status.is_none() {
            let _ = self.child.kill();
        }
        let (lines, errors): (Vec<String>, Vec<String>) =
            (self.lines.iter().collect(), self.errors.iter().collect());
        assert!(status.is_some_and(|status| status.success()), "{status:?}\n{}", errors.join("\n"));
        assert!(errors.is_empty(), "{}", errors.join("\n"));
        lines
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
