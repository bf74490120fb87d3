//! A gate at which operations wait until a test lets them go.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use crate::task::lock;

/// Holds operations back until it is opened, and tells when they have arrived: what a sleep only hopes for.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
    wakers: Vec<Waker>,
}

impl Gate {
    /// Returns a closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everything pass from now on.
    pub fn open(&self) {
        let mut state = lock(&self.0);
        state.open = true;
        state.wake();
    }

    /// Waits until the gate is open.
    ///
    /// # Cancel safety
    /// Whoever stops waiting still counts as arrived.
    pub fn pass(&self) -> impl Future<Output = ()> + Send + use<> {
        let state = Arc::clone(&self.0);
        let mut counted = false;
        poll_fn(move |cx| {
            let mut state = lock(&state);
            if !std::mem::replace(&mut counted, true) {
                state.arrived += 1;
                state.wake();
            }
            if state.open {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Waits until `count` operations have come to the gate.
    ///
    /// # Cancel safety
    /// There is nothing to lose.
    pub fn arrived(&self, count: usize) -> impl Future<Output = ()> + Send + use<> {
        let state = Arc::clone(&self.0);
        poll_fn(move |cx| {
            let mut state = lock(&state);
            if state.arrived >= count {
                return Poll::Ready(());
            }
            state.wakers.push(cx.waker().clone());
            Poll::Pending
        })
    }
}

impl State {
    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
}
