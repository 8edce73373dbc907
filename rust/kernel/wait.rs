// SPDX-License-Identifier: GPL-2.0

//! Wait queues whose waiters the freezer may stop.
//!
//! [`CondVar`](crate::sync::CondVar) is the choice for a condition that a lock protects.
//! [`WaitQueue`] is for one that is read without a lock, or under a lock that must not be held
//! while the task is frozen.
//!
//! Locks: the spinlock of the queue, inside each call.
//! Context: the waiting functions sleep; nothing may be held. Waking works in any context.
//! Units: jiffies.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use crate::{
    bindings,
    prelude::*,
    sync::LockClassKey,
    task::{
        might_sleep,
        MAX_SCHEDULE_TIMEOUT,
        TASK_FREEZABLE,
        TASK_INTERRUPTIBLE, //
    },
    time::Jiffies,
    types::Opaque, //
};
use core::{
    marker::PhantomPinned,
    ptr, //
};

/// The state of a task that waits here.
const STATE: c_int = TASK_INTERRUPTIBLE | TASK_FREEZABLE;

/// Creates a [`WaitQueue`] initialiser with the given name and a newly-created lock class.
#[macro_export]
macro_rules! new_wait_queue {
    ($($name:literal)?) => {
        $crate::wait::WaitQueue::new(
            $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
pub use new_wait_queue;

/// A queue of tasks that wait for something to happen.
///
/// # Examples
///
/// ```
/// use kernel::{
///     sync::atomic::{Atomic, Relaxed},
///     wait::{new_wait_queue, WaitQueue},
/// };
///
/// let queue = KBox::pin_init(new_wait_queue!(), GFP_KERNEL)?;
/// let ready = Atomic::new(1u32);
///
/// // A condition that holds needs no waiting, and is reported even if the time is up.
/// queue.wait_freezable(|| ready.load(Relaxed) == 1)?;
/// assert_eq!(queue.wait_freezable_timeout(0, || ready.load(Relaxed) == 1)?, 1);
///
/// // One that does not hold when the time is up: nothing of the time is left.
/// assert_eq!(queue.wait_freezable_timeout(0, || false)?, 0);
/// assert_eq!(queue.wait_freezable_timeout(1, || false)?, 0);
///
/// // Nobody waits, nobody is woken.
/// queue.wake_up_interruptible();
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,

    /// The head is a list that points to itself, so it cannot move once it is initialised.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A `struct wait_queue_head` can be used on any thread.
unsafe impl Send for WaitQueue {}

// SAFETY: A `struct wait_queue_head` protects itself with its own lock.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Constructs a new wait queue; see [`new_wait_queue!`].
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure is called, and both `name` and `key` live
            // indefinitely.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// Wakes one exclusive waiter and all others.
    #[inline]
    pub fn wake_up_interruptible(&self) {
        // SAFETY: `self.head` is initialised and pinned.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                TASK_INTERRUPTIBLE as c_uint,
                1,
                ptr::null_mut(),
            );
        }
    }

    /// Sleeps until `condition` holds, which is tested now and after each wake-up.
    ///
    /// `condition` must not sleep. The task may be frozen in between. Fails with `ERESTARTSYS` if
    /// a signal is pending.
    ///
    /// C: `wait_event_freezable()`.
    pub fn wait_freezable(&self, condition: impl FnMut() -> bool) -> Result {
        self.wait(MAX_SCHEDULE_TIMEOUT, condition)?;
        Ok(())
    }

    /// As [`WaitQueue::wait_freezable`], but gives up after `timeout`.
    ///
    /// Returns the time that was left when the condition was found to hold, at least 1; or 0 if it
    /// never was.
    ///
    /// C: `wait_event_freezable_timeout()`.
    pub fn wait_freezable_timeout(
        &self,
        timeout: Jiffies,
        condition: impl FnMut() -> bool,
    ) -> Result<Jiffies> {
        let left = self.wait(clamp(timeout), condition)?;
        // CAST: The time left is never negative.
        Ok(left as Jiffies)
    }

    fn wait(&self, timeout: c_long, mut condition: impl FnMut() -> bool) -> Result<c_long> {
        let mut left = timeout;
        let mut over = |left: &mut c_long| {
            let met = condition();
            if met && *left == 0 {
                *left = 1;
            }
            met || *left == 0
        };

        might_sleep();
        if over(&mut left) {
            return Ok(left);
        }

        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is memory for an entry.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        loop {
            // SAFETY: The queue is initialised and pinned. The entry is initialised, stays where it
            // is, and leaves the queue before this function returns: either here, if the result is
            // not zero, or by `finish_wait()`.
            let stopped =
                unsafe { bindings::prepare_to_wait_event(self.head.get(), entry.get(), STATE) };
            if over(&mut left) {
                break;
            }
            if stopped != 0 {
                // The entry was taken off the queue, and the state of the task is still running.
                return Err(ERESTARTSYS);
            }
            // SAFETY: Sleeping is allowed here. The timeout is not negative.
            left = unsafe { bindings::schedule_timeout(left) };
        }
        // SAFETY: As for `prepare_to_wait_event()`.
        unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
        Ok(left)
    }

    /// Sleeps for `timeout`, or until any wake-up. The task may be frozen in between.
    ///
    /// Returns the time that was left.
    pub fn sleep_freezable(&self, timeout: Jiffies) -> Jiffies {
        might_sleep();

        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is memory for an entry.
        unsafe { bindings::init_wait(entry.get()) };
        // SAFETY: The queue is initialised and pinned. The entry is initialised, stays where it is,
        // and leaves the queue by `finish_wait()` below at the latest.
        unsafe { bindings::prepare_to_wait(self.head.get(), entry.get(), STATE) };
        // SAFETY: Sleeping is allowed here. The timeout is not negative.
        let left = unsafe { bindings::schedule_timeout(clamp(timeout)) };
        // SAFETY: As for `prepare_to_wait()`.
        unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
        // CAST: The time left is never negative.
        left as Jiffies
    }
}

/// What the scheduler takes for a time that does not fit: for ever.
fn clamp(timeout: Jiffies) -> c_long {
    timeout.try_into().unwrap_or(MAX_SCHEDULE_TIMEOUT)
}
