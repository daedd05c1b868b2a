//! A model checker for real code: every order in which a few threads can take their steps, depth first.
//!
//! A step is what a thread does from one mark to the next; it runs alone, so what happens within one is not
//! looked at, and memory is taken to be sequentially consistent. That is enough for code that shares nothing
//! but what is behind its locks and marked atomics.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Work of one thread.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// What an exploration goes through: made anew for each order.
pub(crate) struct Scenario {
    /// What the threads do. They may start more, with [`crate::sys::thread::spawn`].
    pub(crate) threads: Vec<Work>,
    /// What must be so when all have ended.
    pub(crate) check: Box<dyn FnOnce()>,
}

/// A condition of a thread that stands in [`until`].
struct Condition(*const (dyn Fn() -> bool + 'static));

// SAFETY: called by whoever has the schedule's lock, while the thread it belongs to stands still.
unsafe impl Send for Condition {}

enum Place {
    /// It has the turn.
    Running,
    /// It may go on.
    Ready,
    /// It looks again and again for something: it goes on when nobody else can, or has gone on meanwhile.
    Resting,
    /// It may go on when this says so.
    Waiting(Condition),
    Ended,
}

struct State {
    places: Vec<Place>,
    turn: usize,
    /// The choice made at each step, and how many there were: where the next order parts from this one.
    path: Vec<(usize, usize)>,
    depth: usize,
    preemptions: usize,
    failure: Option<String>,
    is_over: bool,
}

/// One order of the steps.
struct Order {
    state: Mutex<State>,
    changed: Condvar,
    most_preemptions: usize,
    started: Mutex<Vec<JoinHandle<()>>>,
}

thread_local! {
    static OWN: RefCell<Option<(Arc<Order>, usize)>> = const { RefCell::new(None) };
}

fn own() -> Option<(Arc<Order>, usize)> {
    OWN.with_borrow(Clone::clone)
}

/// Here another thread of the exploration may come first.
pub(crate) fn point() {
    if let Some((order, number)) = own() {
        order.stop(number, Place::Ready);
    }
}

/// As [`point`], in a loop that looks for what another thread does: that one comes first.
pub(crate) fn rest() {
    if let Some((order, number)) = own() {
        order.stop(number, Place::Resting);
    }
}

/// As [`point`]; the thread goes on only while `is_free`.
pub(crate) fn until(is_free: impl Fn() -> bool) {
    let Some((order, number)) = own() else { return };
    let condition: *const (dyn Fn() -> bool + '_) = &raw const is_free;
    // SAFETY: only the lifetime changes; the place is overwritten before this function returns.
    let condition: *const (dyn Fn() -> bool + 'static) = unsafe { std::mem::transmute(condition) };
    order.stop(number, Place::Waiting(Condition(condition)));
}

/// Work that takes part in the exploration of the calling thread, if that is in one.
pub(crate) fn adopted(work: impl FnOnce() + Send + 'static) -> Work {
    let Some((order, _)) = own() else { return Box::new(work) };
    let number = order.enter();
    Box::new(move || Order::run(&order, number, Box::new(work)))
}

impl Order {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> usize {
        let mut state = self.lock();
        state.places.push(Place::Ready);
        state.places.len() - 1
    }

    /// Gives the turn away and waits until it comes back.
    fn stop(&self, number: usize, place: Place) {
        let mut state = self.lock();
        state.places[number] = place;
        self.choose(&mut state, number);
        self.await_turn(state, number);
    }

    fn await_turn(&self, mut state: MutexGuard<'_, State>, number: usize) {
        // What has failed stands still for ever: its threads hold what others would trip over.
        while state.turn != number || state.failure.is_some() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.places[number] = Place::Running;
    }

    /// Whose turn it is next. The one that had it comes first among the choices: taking the first of them
    /// everywhere switches only where a thread ends or waits.
    fn choose(&self, state: &mut State, last: usize) {
        let may_go = |place: &Place| match place {
            Place::Ready => true,
            // SAFETY: the thread stands in `until`, which keeps the condition.
            Place::Waiting(condition) => unsafe { (*condition.0)() },
            Place::Running | Place::Resting | Place::Ended => false,
        };
        let of = |may_go: &dyn Fn(&Place) -> bool| -> Vec<usize> {
            (0..state.places.len()).filter(|number| may_go(&state.places[*number])).collect()
        };
        let mut ready = of(&may_go);
        if ready.is_empty() {
            ready = of(&|place| matches!(place, Place::Resting));
        }
        let goes_on = ready.iter().position(|number| *number == last);
        if let Some(at) = goes_on {
            ready.swap(0, at);
            if state.preemptions >= self.most_preemptions {
                ready.truncate(1);
            }
        }
        if ready.is_empty() {
            if !state.places.iter().all(|place| matches!(place, Place::Ended)) {
                state.failure = Some("nobody can go on".to_owned());
            }
            state.is_over = true;
            return self.changed.notify_all();
        }
        if state.depth == state.path.len() {
            state.path.push((0, ready.len()));
        }
        let (choice, count) = &mut state.path[state.depth];
        if *count != ready.len() {
            state.failure = Some("the same steps have led to another state".to_owned());
            return self.changed.notify_all();
        }
        state.depth += 1;
        state.preemptions += usize::from(goes_on.is_some() && *choice != 0);
        state.turn = ready[*choice];
        self.changed.notify_all();
    }

    fn run(order: &Arc<Self>, number: usize, work: Work) {
        OWN.set(Some((Arc::clone(order), number)));
        order.await_turn(order.lock(), number);
        let outcome = catch_unwind(AssertUnwindSafe(work));
        OWN.set(None);
        let mut state = order.lock();
        state.places[number] = Place::Ended;
        match outcome {
            Ok(()) => order.choose(&mut state, number),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                state.failure = Some(text.to_owned());
                order.changed.notify_all();
            }
        }
    }

    /// Runs the threads in the order that `path` begins; answers how it went on, or why it failed.
    fn carry_out(path: Vec<(usize, usize)>, most: usize, threads: Vec<Work>) -> Result<Path, String> {
        let order = Arc::new(Order {
            state: Mutex::new(State {
                places: threads.iter().map(|_| Place::Ready).collect(),
                turn: usize::MAX,
                path,
                depth: 0,
                preemptions: 0,
                failure: None,
                is_over: false,
            }),
            changed: Condvar::new(),
            most_preemptions: most,
            started: Mutex::default(),
        });
        for (number, work) in threads.into_iter().enumerate() {
            let own = Arc::clone(&order);
            let started = thread::spawn(move || Order::run(&own, number, work));
            order.started.lock().unwrap_or_else(PoisonError::into_inner).push(started);
        }
        let mut state = order.lock();
        order.choose(&mut state, usize::MAX);
        while !state.is_over && state.failure.is_none() {
            state = order.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failure) = state.failure.take() {
            let choices: Vec<usize> = state.path[..state.depth].iter().map(|(choice, _)| *choice).collect();
            state.failure = Some(String::new());
            return Err(format!("{failure}, after the choices {choices:?}"));
        }
        let path = std::mem::take(&mut state.path);
        drop(state);
        let started = std::mem::take(&mut *order.started.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in started {
            thread.join().map_err(|_| "a thread has failed outside its work".to_owned())?;
        }
        Ok(path)
    }
}

type Path = Vec<(usize, usize)>;

/// Runs a scenario in every order of its threads' steps, with at most `most_preemptions` changes of threads
/// where the one that had the turn could have gone on. Answers the number of orders, or what failed first.
pub(crate) fn explore(most_preemptions: usize, scenario: impl Fn() -> Scenario) -> Result<usize, String> {
    let mut path = Path::new();
    for orders in 1.. {
        let Scenario { threads, check } = scenario();
        path = Order::carry_out(path, most_preemptions, threads)?;
        let choices: Vec<usize> = path.iter().map(|(choice, _)| *choice).collect();
        catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            format!("{text}, after the choices {choices:?}")
        })?;
        while path.last().is_some_and(|(choice, count)| choice + 1 == *count) {
            path.pop();
        }
        match path.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return Ok(orders),
        }
    }
    Ok(0)
}

/// No limit of preemptions: every order.
pub(crate) const EVERY: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Threads that each look at a number and then write one more: an update is lost where they overlap.
    fn counting(threads: usize, is_atomic: bool) -> Scenario {
        let number = Arc::new(AtomicU32::new(0));
        let work = |number: Arc<AtomicU32>| -> Work {
            Box::new(move || {
                point();
                if is_atomic {
                    number.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                let seen = number.load(Ordering::SeqCst);
                point();
                number.store(seen + 1, Ordering::SeqCst);
            })
        };
        let all = (0..threads).map(|_| work(Arc::clone(&number))).collect();
        let check = move || assert_eq!(number.load(Ordering::SeqCst) as usize, threads, "an update is lost");
        Scenario { threads: all, check: Box::new(check) }
    }

    #[test]
    fn every_order_is_run_once() {
        // Two threads of two steps each, three of two: (2 + 2)! / (2! 2!), 6! / (2! 2! 2!).
        assert_eq!(explore(EVERY, || counting(2, true)), Ok(6));
        assert_eq!(explore(EVERY, || counting(3, true)), Ok(90));
        assert_eq!(explore(0, || counting(3, true)), Ok(6), "without preemptions: one after the other");
    }

    #[test]
    fn a_lost_update_is_found() {
        let found = explore(EVERY, || counting(2, false));
        assert!(found.as_ref().is_err_and(|text| text.contains("an update is lost")), "{found:?}");
        assert!(explore(1, || counting(2, false)).is_err(), "one preemption is enough");
        assert_eq!(explore(0, || counting(2, false)), Ok(2), "and needed");
    }

    #[test]
    fn threads_that_wait_for_each_other_are_found() {
        let locks = || {
            let pair = Arc::new((Mutex::new(()), Mutex::new(())));
            let other = Arc::clone(&pair);
            let both = |first: &Mutex<()>, second: &Mutex<()>| {
                until(|| first.try_lock().is_ok());
                let _first = first.lock();
                until(|| second.try_lock().is_ok());
                let _second = second.lock();
            };
            let threads: Vec<Work> =
                vec![Box::new(move || both(&pair.0, &pair.1)), Box::new(move || both(&other.1, &other.0))];
            Scenario { threads, check: Box::new(|| ()) }
        };
        let found = explore(EVERY, locks);
        assert!(found.as_ref().is_err_and(|text| text.starts_with("nobody can go on")), "{found:?}");
        assert_eq!(explore(0, locks), Ok(2));
    }

    #[test]
    fn threads_started_on_the_way_take_part() {
        let scenario = || {
            let seen = Arc::new(AtomicU32::new(0));
            let (own, late) = (Arc::clone(&seen), Arc::clone(&seen));
            let first: Work = Box::new(move || {
                crate::sys::thread::spawn("late".into(), 1 << 16, move || {
                    late.fetch_add(1, Ordering::SeqCst);
                })
                .unwrap();
                until(|| own.load(Ordering::SeqCst) == 1);
            });
            let check = move || assert_eq!(seen.load(Ordering::SeqCst), 1);
            Scenario { threads: vec![first], check: Box::new(check) }
        };
        assert_eq!(explore(EVERY, scenario), Ok(1));
    }
}
