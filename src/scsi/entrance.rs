//! Where a transport's thread admits its commands, most of them to the unit that it has used last.
//!
//! A task that has ended on the thread that admitted it is made the next command's task: it refers to the
//! same nexus, mostly to the same unit and medium, and to count references is what would cost most.

use std::sync::{Arc, Weak};

use crate::backstore::buffer::Buffer;
use crate::scsi::execute;
use crate::scsi::itl::Itl;
use crate::scsi::lun::LunField;
use crate::scsi::nexus::Nexus;
use crate::scsi::target::{self, Refused};
use crate::scsi::task::{Command, Reply, Task};

/// What became of a command that was admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entered {
    /// It has ended, and is answered.
    Ended,
    /// It has a task.
    Task,
}

/// The unit used last, and its task. For one thread, one nexus and one way of answers.
#[derive(Default)]
pub struct Entrance {
    changes: u64,
    field: LunField,
    /// That of the unit used last, while no task is here that knows it. Weak, so that a connection that is
    /// idle keeps no unit that was taken away.
    itl: Weak<Itl>,
    /// The task admitted last until it is taken away; or one that is over. It is of the unit used last.
    task: Option<Task>,
}

impl Entrance {
    /// As [`target::admit`]. Where the command has a task, [`Entrance::task`] is it, until it is taken away;
    /// one that ends here stays. `ends_here` lets a command end here that is no more than a copy; with
    /// `has_data` its Data-Out is here already.
    pub fn admit(
        &mut self,
        nexus: &Arc<Nexus>,
        command: &Command,
        reply: &Arc<dyn Reply>,
        (ends_here, has_data): (bool, bool),
    ) -> Result<Entered, Refused> {
        // Read before the map is: a change meanwhile makes the next command look again.
        let changes = nexus.view_changes();
        let is_known = command.lun == self.field && changes == self.changes;
        if self.task.as_ref().is_some_and(|task| !task.is_over()) {
            self.rest();
        }
        let known = if is_known { None } else { Some(nexus.itl(command.lun)) };
        if known.is_some() {
            (self.changes, self.field) = (changes, command.lun);
        }
        if let Some(task) = &mut self.task {
            if let Some(itl) = known {
                task.itl = itl;
            }
            let memory = ends_here.then_some(&mut task.data_in);
            return match target::check(nexus, &task.itl, (&mut task.gate, memory), (command, has_data)) {
                Ok(admitted) => {
                    let is_read = admitted.is_read;
                    target::renew(task, command, admitted);
                    if is_read {
                        execute::answer_at_once(task);
                        return Ok(Entered::Ended);
                    }
                    Ok(Entered::Task)
                }
                Err(failure) => Err(Refused(target::refusal(&task.itl, command, failure))),
            };
        }
        let itl = known.or_else(|| self.itl.upgrade()).unwrap_or_else(|| nexus.itl(command.lun));
        let mut gate = None;
        match target::check(nexus, &itl, (&mut gate, None), (command, has_data)) {
            Ok(admitted) => {
                self.task = Some(target::task((nexus, itl, gate, reply), command, admitted));
                Ok(Entered::Task)
            }
            Err(failure) => {
                self.itl = Arc::downgrade(&itl);
                Err(Refused(target::refusal(&itl, command, failure)))
            }
        }
    }

    /// The task admitted last, if it is still here.
    #[inline]
    pub fn task(&mut self) -> Option<&mut Task> {
        self.task.as_mut()
    }

    /// Takes away the task admitted last.
    pub fn take(&mut self) -> Option<Task> {
        let task = self.task.take()?;
        if !self.is_of(&task) {
            self.itl = Arc::downgrade(&task.itl);
        }
        Some(task)
    }

    /// A task that was admitted here has ended: the next command may have it.
    pub fn keep(&mut self, task: Task) {
        if self.task.is_none() && self.is_of(&task) && task.is_over() {
            self.task = Some(task);
            self.clear();
        }
    }

    fn is_of(&self, task: &Task) -> bool {
        Weak::as_ptr(&self.itl) == Arc::as_ptr(&task.itl)
    }

    /// Gives back the memory of the task that has ended here, but for a small piece that the next command is
    /// likely to want.
    #[inline]
    pub fn clear(&mut self) {
        if let Some(task) = &mut self.task {
            task.data_out = Buffer::empty();
            if !task.data_in.is_small() {
                task.data_in = Buffer::empty();
            }
        }
    }

    /// The thread is about to sleep: nothing is kept from going.
    pub fn rest(&mut self) {
        drop(self.take());
    }
}
