//! The thread of a connection: it waits for the socket, lets the machines decide, and does what they say.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::backstore::spare;
use crate::iscsi::action::{Action, Disposition};
use crate::iscsi::command::command;
use crate::iscsi::directory::Query;
use crate::iscsi::discovery::{TextExchange, TextSession};
use crate::iscsi::error::{ProtocolError, reason};
use crate::iscsi::manage;
use crate::iscsi::receive::Receiver;
use crate::iscsi::send::Outgoing;
use crate::limits::MAX_PENDING_FUNCTIONS;
use crate::names::IscsiName;
use crate::notice::Notice;
use crate::scsi::entrance::{Entered, Entrance};
use crate::scsi::execute::{Here, Inline};
use crate::scsi::lun::LunField;
use crate::scsi::management::PendingFunction;
use crate::scsi::nexus::Nexus;
use crate::scsi::task::{Command, Failure, Reply, Task};
use crate::scsi::{Status, TaskManagementFunction, execute, target};
use crate::server::Shared;
use crate::server::connection::Connection;
use crate::server::front::Taken;
use crate::server::input::Input;
use crate::server::nagle::Nagle;
use crate::server::sessions::{CloseReason, Closer, Session};
use crate::server::spin::Spin;
use crate::wire::request::{LogoutRequest, TaskManagementRequest, TextRequest};
use crate::wire::response::TextResponse;

/// How long a task management function may wait for writes that cannot be cancelled before it is answered
/// with FUNCTION REJECTED. Initiators give up after 15 seconds and more.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The initiator closed the connection.
    PeerClosed,
    /// The initiator logged out.
    Logout,
    /// Login failed; the reason was logged.
    LoginFailed,
    /// The initiator broke the protocol.
    Protocol(ProtocolError),
    /// The socket failed.
    Io(io::Error),
    /// The target closed it.
    Closed(CloseReason),
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        End::Protocol(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Io(error)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::PeerClosed => f.write_str("the initiator closed the connection"),
            End::Logout => f.write_str("logout"),
            End::LoginFailed => f.write_str("login failed"),
            End::Protocol(error) => write!(f, "{error}"),
            End::Io(error) => write!(f, "{error}"),
            End::Closed(reason) => f.write_str(reason.words()),
        }
    }
}

/// What full feature phase adds to the thread.
pub(super) struct Established {
    pub(super) session: Arc<Session>,
    pub(super) nexus: Option<Arc<Nexus>>,
    pub(super) initiator: IscsiName,
    pub(super) response_timeout: Duration,
    pub(super) exchange: TextExchange,
}

/// The state of the thread.
pub(super) struct Serving<'a> {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Arc<Connection>,
    pub(super) reply: Arc<dyn Reply>,
    pub(super) peer: SocketAddr,
    pub(super) portal: SocketAddr,
    pub(super) receiver: Receiver<Task>,
    pub(super) input: Input,
    pub(super) actions: Vec<Action<Task>>,
    pub(super) established: Option<Established>,
    pub(super) login: Option<super::login::LoginPhase>,
    pub(super) functions: Vec<(Instant, Arc<PendingFunction>)>,
    pub(super) now: Instant,
    /// Whether the connection counts among the logins in progress.
    pub(super) logging_in: &'a mut bool,
    /// Where TCP may gather answers: when it does.
    pub(super) nagle: Option<Nagle>,
    pub(super) spin: Spin,
    /// The millisecond in which the connection was last found busy.
    pub(super) busy_in: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) blocked: Option<Blocked>,
    /// Pages that the initiator has not acknowledged.
    pub(super) overdue: Option<Overdue>,
    pub(super) entrance: Entrance,
    /// Since when part of the command at the front of the receive buffer is there.
    pub(super) part_since: Option<Instant>,
    /// Requests come seldom.
    pub(super) is_quiet: bool,
    /// Commands taken in one step since the thread has last let all answers leave.
    pub(super) gathered: u32,
    /// Plain commands until the units of those that follow are looked at again.
    pub(super) ahead: usize,
    is_over: bool,
}

impl<'a> Serving<'a> {
    pub(super) fn new(
        shared: Arc<Shared>,
        socket: TcpStream,
        peer: SocketAddr,
        portal: SocketAddr,
        logging_in: &'a mut bool,
    ) -> Self {
        let now = Instant::now();
        let connection = Connection::new(Arc::new(socket));
        let reply: Arc<dyn Reply> = connection.clone();
        Serving {
            login: Some(super::login::LoginPhase::new(&shared, portal, peer)),
            receiver: Receiver::new(now + shared.options.login_timeout),
            shared,
            connection,
            reply,
            peer,
            portal,
            input: Input::default(),
            actions: Vec::new(),
            established: None,
            functions: Vec::new(),
            now,
            logging_in,
            nagle: None,
            spin: Spin::default(),
            busy_in: 0,
            timeout: None,
            blocked: None,
            overdue: None,
            entrance: Entrance::default(),
            part_since: None,
            is_quiet: false,
            gathered: 0,
            ahead: 0,
            is_over: false,
        }
    }

    /// The life of the connection.
    pub(super) fn run(mut self) {
        let _keeping = spare::keep();
        let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
        let end = match served {
            Ok(Ok(())) => End::Logout,
            Ok(Err(end)) => end,
            Err(_) => End::Io(io::Error::other("internal error")),
        };
        let end = self.connection.close_reason().map_or(end, End::Closed);
        self.finish(&end);
    }

    fn serve(&mut self) -> Result<(), End> {
        while !self.is_over {
            while !self.input.is_empty() && !self.is_over {
                match self.take_front()? {
                    Taken::Command => {}
                    Taken::Part => break,
                    Taken::Other => self.take_piece()?,
                }
            }
            if !self.is_over {
                self.await_input()?;
            }
        }
        self.linger();
        Ok(())
    }

    /// Gives the receiver what it wants of what is here.
    pub(super) fn take_piece(&mut self) -> Result<(), End> {
        let count = self.input.take(self.receiver.want());
        self.got(count)
    }

    pub(super) fn got(&mut self, count: usize) -> Result<(), End> {
        let before = self.receiver.pdus();
        self.receiver.got(count, self.now, &mut self.actions)?;
        self.acknowledge();
        self.perform_all()?;
        let pdus = self.receiver.pdus().wrapping_sub(before);
        if pdus == 0 {
            return Ok(());
        }
        self.with_nagle(|nagle, statistics| nagle.busy(pdus, statistics))
    }

    pub(super) fn perform_all(&mut self) -> Result<(), End> {
        loop {
            while !self.actions.is_empty() {
                let mut actions = std::mem::take(&mut self.actions);
                for action in actions.drain(..) {
                    self.perform(action)?;
                }
                // What performing them has added comes next; the emptied list keeps its memory.
                if self.actions.is_empty() {
                    self.actions = actions;
                }
            }
            if self.is_over {
                return Ok(());
            }
            if let Some(pdu) = self.receiver.command() {
                let command = command(pdu);
                self.command(&command)?;
            } else if !self.receiver.replay(&mut self.actions) {
                return Ok(());
            }
        }
    }

    fn perform(&mut self, action: Action<Task>) -> Result<(), End> {
        if self.is_over {
            return Ok(());
        }
        match action {
            Action::Login(request, text) => self.login(&request, &text),
            Action::Execute { mut token, buffer, length } => {
                token.set_data_out(buffer, length);
                self.start(token);
                Ok(())
            }
            Action::Fail { token, sense } => {
                target::fail(token, Failure::Sense(sense));
                Ok(())
            }
            Action::Manage(request) => {
                self.manage(&request);
                Ok(())
            }
            Action::Text(request, text) => {
                self.text(&request, &text);
                Ok(())
            }
            Action::Logout(request) => {
                self.logout(&request);
                Ok(())
            }
            Action::Send(outgoing) => {
                self.connection.send(&outgoing);
                Ok(())
            }
        }
    }

    /// Admits a SCSI command and tells the receiver what becomes of its data.
    #[inline(always)]
    pub(super) fn command(&mut self, command: &Command) -> Result<(), End> {
        if !self.admit(command, false)? {
            self.discard_data();
            return Ok(());
        }
        let Some(task) = self.entrance.task() else { return Ok(()) };
        let length = task.data_out_length();
        if length == 0 {
            self.discard_data();
            self.start_admitted();
            return Ok(());
        }
        let buffer = task.memory(length);
        let Some(token) = self.entrance.take() else { return Ok(()) };
        match buffer {
            Some(buffer) => {
                let fetch = Disposition::Fetch { token, buffer, length };
                self.receiver.accept(fetch, &mut self.actions);
            }
            None => {
                target::fail(token, Failure::Status(Status::BUSY));
                self.discard_data();
            }
        }
        Ok(())
    }

    /// Admits a SCSI command; `true` when it has a task, which is at the entrance. With `has_data`
    /// its Data-Out is here.
    #[inline(always)]
    pub(super) fn admit(&mut self, command: &Command, has_data: bool) -> Result<bool, End> {
        let nexus = self.established.as_ref().and_then(|e| e.nexus.as_ref());
        let Some(nexus) = nexus else { return Err(End::Protocol(ProtocolError::LoginAgain)) };
        let swallows = match nexus.black_hole() {
            0 => false,
            1 | 2 => true,
            _ => command.expected_in > 0 || command.expected_out > 0,
        };
        if swallows {
            self.reply.task_dropped(command.tag, command.is_immediate);
            return Ok(false);
        }
        let is_measured = self.shared.totals.measures(self.now) || nexus.is_measured();
        match self.entrance.admit(nexus, command, &self.reply, (!is_measured, has_data)) {
            Ok(Entered::Task) => {}
            Ok(Entered::Ended) => return Ok(false),
            Err(mut refused) => {
                self.reply.task_done(&mut refused.0);
                return Ok(false);
            }
        }
        if let Some(task) = self.entrance.task().filter(|_| is_measured) {
            task.set_received(self.now);
        }
        Ok(true)
    }

    /// No data of the command is wanted. A plain one has none, and is not asked about.
    #[inline]
    fn discard_data(&mut self) {
        if self.receiver.command().is_some() {
            self.receiver.accept(Disposition::Discard, &mut self.actions);
        }
    }

    /// Runs the task just admitted here, where it lies, when that cannot block.
    #[inline(always)]
    fn start_admitted(&mut self) {
        let Some(task) = self.entrance.task() else { return };
        let ran = run_here(task, &mut self.now, &[]);
        if ran == Ran::Done {
            return self.entrance.clear();
        }
        if let Some(task) = self.entrance.take() {
            self.go_on(task, ran);
        }
    }

    /// Runs a task here when that cannot block.
    #[inline(always)]
    fn start(&mut self, mut task: Task) {
        match run_here(&mut task, &mut self.now, &[]) {
            Ran::Done => self.entrance.keep(task),
            ran => self.go_on(task, ran),
        }
    }

    /// What [`run_here`] has left to do; what may block goes to the workers.
    #[inline(never)]
    pub(super) fn go_on(&mut self, task: Task, ran: Ran) {
        let (task, inline) = match ran {
            Ran::Done => return,
            Ran::Undone => return self.shared.pool.submit(task),
            Ran::Elsewhere(inline) => (task, inline),
            Ran::Not(inline) => {
                let execute::Started::Run(mut task) = execute::start(task) else { return };
                if inline == Inline::No {
                    return self.shared.pool.submit(task);
                }
                task.set_started(self.now);
                (task, inline)
            }
        };
        if let Some(undone) = execute::execute(task, inline == Inline::Freely) {
            self.shared.pool.submit(undone);
        }
    }

    fn manage(&mut self, request: &TaskManagementRequest) {
        let Some(nexus) = self.established.as_ref().and_then(|e| e.nexus.clone()) else { return };
        let tag = request.initiator_task_tag;
        if matches!(nexus.black_hole(), 2 | 4) || nexus.is_lost() {
            return;
        }
        let function = match manage::function(request) {
            Ok(_) if self.functions.len() >= MAX_PENDING_FUNCTIONS => {
                Err(manage::response::FUNCTION_REJECTED)
            }
            function => function,
        };
        let function = match function {
            Ok(function) => function,
            Err(response) => return self.connection.send(&Outgoing::TaskManagement { itt: tag, response }),
        };
        self.shared.totals.function(function);
        let session = self.established.as_ref().map_or(0, |established| established.session.id);
        let lun = LunField(request.lun);
        self.shared.events.say(|| info!("session {session}: {function:?} at LUN {lun}"));
        if function == TaskManagementFunction::TargetColdReset {
            self.connection.begin_cold_reset(tag);
        }
        let pending = target::manage(&nexus, function, LunField(request.lun), tag, &self.reply);
        // Commands that were aborted while their data was arriving: what still comes is discarded.
        drop(self.receiver.forget_if(Task::is_aborted));
        if !pending.is_answered() {
            self.functions.push((self.now + FUNCTION_TIMEOUT, pending));
        }
        self.end_if_reset();
    }

    /// Whoever had the target reset has its answer: all sessions of the target end, its own with what is
    /// queued sent (TARGET COLD RESET, RFC 7143 11.5.1).
    pub(super) fn end_if_reset(&mut self) -> bool {
        let Some(established) = self.established.as_ref().filter(|_| self.connection.is_cold_reset()) else {
            return false;
        };
        self.end_others(&established.session);
        self.connection.note_reason(CloseReason::ColdReset);
        self.leave();
        true
    }

    /// Ends all other sessions of the target, if a TARGET COLD RESET has yet to.
    fn end_others(&self, own: &Session) {
        if !self.connection.take_cold_reset() {
            return;
        }
        for session in self.shared.sessions.all() {
            if session.target == own.target && session.id != own.id {
                session.close(CloseReason::ColdReset);
            }
        }
    }

    /// The session ends here; what is queued is still sent.
    fn leave(&mut self) {
        if let Some(nexus) = self.established.as_ref().and_then(|e| e.nexus.as_ref()) {
            target::nexus_lost(nexus);
        }
        drop(self.receiver.forget_all());
        self.is_over = true;
    }

    fn text(&mut self, request: &TextRequest, text: &[u8]) {
        let Some(established) = &mut self.established else { return };
        let Some(full) = self.connection.full() else { return };
        let mut segment_length = 0;
        full.outbox.push(|sender, _| segment_length = sender.max_segment());
        let session = TextSession {
            query: Query { initiator: &established.initiator, portal: self.portal, peer: self.peer },
            target: Some(established.session.target.as_str()).filter(|name| !name.is_empty()),
            segment_length: u32::try_from(segment_length).unwrap_or(u32::MAX),
        };
        match established.exchange.request(request, text, &session, &*self.shared.host) {
            Ok(answer) => {
                let response = TextResponse { lun: request.lun, ..answer.response };
                self.connection.send(&Outgoing::Text { response, text: answer.text });
                if let Some(length) = answer.segment_length {
                    full.outbox.push(|sender, _| sender.set_max_segment(length));
                }
            }
            Err(refusal) => {
                let header = self.receiver.header().0.into();
                self.connection.send(&Outgoing::Reject { reason: refusal.reason(), header });
            }
        }
    }

    /// RFC 7143 11.14: 0 closes the session, 1 the connection with the CID given, 2 asks for recovery.
    fn logout(&mut self, request: &LogoutRequest) {
        let Some(established) = &self.established else { return };
        let itt = request.initiator_task_tag;
        let response = match request.reason {
            0 => 0,
            1 if request.cid == established.session.cid => 0,
            1 => 1,
            2 => 2,
            _ => {
                let header = self.receiver.header().0.into();
                let reject = Outgoing::Reject { reason: reason::PROTOCOL_ERROR, header };
                return self.connection.send(&reject);
            }
        };
        if response == 0 {
            self.leave();
        }
        self.connection.send(&Outgoing::Logout { itt, response });
    }

    /// Takes the session out and says why.
    fn finish(&mut self, end: &End) {
        drop(self.receiver.forget_all());
        if let Some(established) = self.established.take() {
            if let Some(nexus) = &established.nexus {
                target::nexus_lost(nexus);
                self.shared.host.closed(nexus);
            }
            // Who had the target reset may be gone before the writes in its way are over.
            self.end_others(&established.session);
            self.shared.sessions.remove(&established.session);
            let session = &established.session;
            self.shared.host.notice(&Notice::SessionClosed(session.ends(), end));
            let name = if session.target.is_empty() { "discovery" } else { &session.target };
            let (id, initiator, peer) = (session.id, &session.initiator, self.peer);
            self.shared
                .events
                .say(|| info!("session {id} of {initiator} at {peer} with {name} closed: {end}"));
        } else if !matches!(end, End::PeerClosed | End::LoginFailed) {
            if !matches!(end, End::Closed(_)) {
                self.shared.host.notice(&Notice::LoginRefused { peer: self.peer, reason: end });
            }
            self.shared.noise.say(|| warn!("connection from {} closed before login: {end}", self.peer));
        } else {
            debug!("connection from {} closed before login: {end}", self.peer);
        }
        if let Some(full) = self.connection.full() {
            full.outbox.abandon();
        }
        let _ = self.connection.socket.shutdown(Shutdown::Both);
    }
}

/// Pages that are not acknowledged: the StatSN of the oldest, of the youngest at that time, and since when
/// the oldest is that and all has left.
#[derive(Clone, Copy)]
pub(super) struct Overdue {
    pub(super) oldest: u32,
    pub(super) youngest: u32,
    pub(super) since: Instant,
}

/// Output that the socket does not take.
#[derive(Clone, Copy)]
pub(super) struct Blocked {
    /// Bytes that it had taken before.
    pub(super) taken: usize,
    /// Since when it has taken no more.
    pub(super) since: Instant,
}

/// How far a task came on the connection's thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// It has ended.
    Done,
    /// It would have to wait for the medium.
    Undone,
    /// It has begun, and was not tried in its place.
    Elsewhere(Inline),
    /// It has not begun: it is not for this thread, or older tasks come first.
    Not(Inline),
}

/// Runs a task in its place, if that cannot block. A task is large, and is not moved where it need not be.
/// `sent` as in [`execute::execute_here`].
#[inline(always)]
pub(super) fn run_here(task: &mut Task, now: &mut Instant, sent: &[u8]) -> Ran {
    let inline = execute::inline(task);
    if inline == Inline::No || !execute::starts(task) {
        return Ran::Not(inline);
    }
    if task.is_measured() {
        *now = Instant::now();
        task.set_started(*now);
    }
    match execute::execute_here(task, inline == Inline::Freely, sent) {
        Here::Done => Ran::Done,
        Here::Undone => Ran::Undone,
        Here::Elsewhere => Ran::Elsewhere(inline),
    }
}
