// SPDX-License-Identifier: GPL-2.0

//! Kernel threads.
//!
//! A thread is described by a type that implements [`ThreadFn`]. [`Kthread`] is the handle: who
//! owns it keeps the thread running, and dropping it stops the thread and waits for its end.
//!
//! Locks: none.
//! Context: starting and stopping sleep.
//! Units: none.
//!
//! C header: [`include/linux/kthread.h`](srctree/include/linux/kthread.h)

use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*,
    sync::aref::ARef,
    task::Task,
    types::{
        ForeignOwnable,
        NotThreadSafe, //
    },
};
use core::marker::PhantomData;

/// The lowest priority that [`ThisThread::set_nice`] takes.
pub const MAX_NICE: c_long = bindings::MAX_NICE as c_long;

/// What a kernel thread does.
pub trait ThreadFn: 'static {
    /// The name that the thread shows to user space.
    const NAME: &'static CStr;

    /// What the thread is given to own.
    type Data: ForeignOwnable + Send;

    /// Runs in the thread, which ends when this returns. It should return soon after
    /// [`ThisThread::should_stop`] became true.
    fn run(this: &ThisThread, data: Self::Data);
}

/// The running kernel thread itself.
///
/// # Invariants
///
/// Only exists in the task of a kernel thread that [`Kthread::run`] made.
pub struct ThisThread(NotThreadSafe);

impl ThisThread {
    /// Whether somebody waits for this thread to end.
    #[inline]
    pub fn should_stop(&self) -> bool {
        // SAFETY: By the type invariant the current task is a kernel thread.
        unsafe { bindings::kthread_should_stop() }
    }

    /// Lets the freezer stop this thread.
    pub fn set_freezable(&self) {
        // SAFETY: By the type invariant the current task is a kernel thread, whose flags only it
        // changes.
        unsafe { bindings::set_freezable() };
    }

    /// Sets the priority of this thread.
    pub fn set_nice(&self, nice: c_long) {
        // SAFETY: The current task is valid.
        unsafe { bindings::set_user_nice(Task::current_raw(), nice) }
    }
}

/// A kernel thread that runs `F`.
///
/// # Invariants
///
/// `task` was made to run [`Self::entry`] with the foreign pointer `data`, and `kthread_stop()` was
/// not called on it.
///
/// # Examples
///
/// ```
/// use kernel::{
///     kthread::{Kthread, ThisThread, ThreadFn},
///     sync::{Arc, Completion},
/// };
///
/// struct Hello;
///
/// impl ThreadFn for Hello {
///     const NAME: &'static CStr = c"hello";
///     type Data = Arc<Completion>;
///
///     fn run(_this: &ThisThread, done: Self::Data) {
///         assert!(Kthread::<Self>::is_current());
///         done.complete_all();
///     }
/// }
///
/// let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
/// let thread = Kthread::<Hello>::run(done.clone())?;
/// done.wait_for_completion();
/// thread.stop();
/// assert!(!Kthread::<Hello>::is_current());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "the thread is stopped immediately when its handle is unused"]
pub struct Kthread<F: ThreadFn> {
    task: ARef<Task>,
    data: *mut c_void,
    _f: PhantomData<fn() -> F>,
}

// SAFETY: Any task may stop a kernel thread, and `F::Data` may be dropped on any.
unsafe impl<F: ThreadFn> Send for Kthread<F> {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl<F: ThreadFn> Sync for Kthread<F> {}

impl<F: ThreadFn> Kthread<F> {
    /// Starts a thread. Sleeps.
    pub fn run(data: F::Data) -> Result<Self> {
        let data = data.into_foreign();
        // SAFETY: `entry` takes `data` from the one thread that may come of this. The format takes
        // one string, and the name is one.
        let task = from_err_ptr(unsafe {
            bindings::kthread_create_on_node(
                Some(Self::entry),
                data,
                bindings::NUMA_NO_NODE,
                c"%s".as_char_ptr(),
                F::NAME.as_char_ptr(),
            )
        })
        .inspect_err(|_| {
            // SAFETY: There is no thread, so the pointer is still ours.
            drop(unsafe { F::Data::from_foreign(data) })
        })?;
        // SAFETY: The task was just created and does not run yet, so it is valid. `Task` is a
        // transparent wrapper of `task_struct`.
        let task: ARef<Task> = unsafe { &*task.cast::<Task>() }.into();
        task.wake_up();
        // INVARIANT: The task was created above for `entry` and `data`.
        Ok(Self {
            task,
            data,
            _f: PhantomData,
        })
    }

    /// Tells the thread to stop and waits for its end. Sleeps. Dropping the handle is the same.
    #[inline]
    pub fn stop(self) {}

    /// Whether the current task is a thread that runs `F`. Cheap, in any context.
    ///
    /// All threads that run `F` look the same here.
    #[inline]
    pub fn is_current() -> bool {
        let entry: unsafe extern "C" fn(*mut c_void) -> c_int = Self::entry;
        // SAFETY: The current task is valid.
        let running = unsafe { bindings::kthread_func(Task::current_raw()) };
        // CAST: C compares the same way. Each `F` has one instance of `entry`, in the crate that
        // starts the thread and, for it to be this crate's business, asks.
        running == entry as *mut c_void
    }

    /// What the thread starts with.
    ///
    /// # Safety
    ///
    /// `data` must be a pointer from `F::Data::into_foreign()` that the caller gives up, and the
    /// current task a kernel thread.
    unsafe extern "C" fn entry(data: *mut c_void) -> c_int {
        // SAFETY: The caller gives the pointer up.
        let data = unsafe { F::Data::from_foreign(data) };
        // INVARIANT: The current task is a kernel thread.
        F::run(&ThisThread(NotThreadSafe), data);
        0
    }
}

impl<F: ThreadFn> Drop for Kthread<F> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant this is the first call on the task, which is valid even if
        // it has ended, since `self.task` holds a reference.
        let status = unsafe { bindings::kthread_stop(self.task.as_ptr()) };
        // A thread that is stopped before it ran the first time never enters its function.
        if status == EINTR.to_errno() {
            // SAFETY: `entry` returns 0, so it did not run and did not take the pointer; now it
            // never will.
            drop(unsafe { F::Data::from_foreign(self.data) });
        }
    }
}

/// Lets another task run if one should, in code that loops for long.
#[inline]
pub fn cond_resched() {
    // SAFETY: There is no requirement but that sleeping is allowed, which the debugging aids check.
    unsafe { bindings::cond_resched() };
}
