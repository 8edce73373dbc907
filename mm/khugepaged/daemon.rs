// SPDX-License-Identifier: GPL-2.0

//! The daemon: its thread, when it runs and when it sleeps.
//!
//! The thread exists while huge pages are enabled for some kind of memory. In each round it scans
//! until it has made the progress that pages_to_scan asks for, or has been over all address spaces
//! once; then it sleeps.
//!
//! Locks: `Khugepaged::thread`, a mutex, held while the thread is started or stopped, which the
//! thread itself never takes. The thread holds nothing when it sleeps.
//! Context: may sleep.
//! Units: jiffies; milliseconds where the name says so.
//!
//! C: `khugepaged()`, `khugepaged_do_scan()`, `khugepaged_wait_work()`, `khugepaged_alloc_sleep()`,
//! `start_stop_khugepaged()`, `khugepaged_min_free_kbytes_update()`.
#![forbid(unsafe_code)]

use crate::{
    context::CollapseContext,
    policy::Policy,
    result::ScanResult,
    scan::scan_mm,
    tunables, //
};
use kernel::{
    kthread::{
        cond_resched,
        Kthread,
        ThisThread,
        ThreadFn,
        MAX_NICE, //
    },
    mm::{
        internal::{
            lru,
            thp::hugepage_enabled,
            watermark::set_recommended_min_free_kbytes, //
        },
        slots::MmSlots,
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        new_mutex,
        Mutex,
        SetOnce, //
    },
    time::msecs_to_jiffies,
    wait::{
        new_wait_queue,
        WaitQueue, //
    },
};

/// All that the daemon and its callers share.
#[pin_data]
pub(crate) struct Khugepaged {
    /// What there is to scan.
    #[pin]
    pub(crate) slots: MmSlots,
    /// Where the thread sleeps.
    #[pin]
    wait: WaitQueue,
    /// How often the length of the sleep was changed. C sets the time at which the sleep ends to 0
    /// instead, which is lost if khugepaged, having read the old length, sets it after that.
    sleep_changes: Atomic<u32>,
    /// The thread, if there is one.
    #[pin]
    thread: Mutex<Option<Kthread<Daemon>>>,
}

/// Filled by [`init`] and never emptied. Some of the callers come earlier; they find nothing.
static STATE: SetOnce<Pin<KBox<Khugepaged>>> = SetOnce::new();

/// Makes the state and sets the defaults of the knobs.
pub(crate) fn init() -> Result {
    let state = KBox::pin_init(
        pin_init!(Khugepaged {
            slots <- MmSlots::new(),
            wait <- new_wait_queue!("khugepaged_wait"),
            sleep_changes: Atomic::new(0),
            thread <- new_mutex!(None, "khugepaged_mutex"),
        }),
        GFP_KERNEL,
    )?;
    STATE.populate(state);
    tunables::set_defaults();
    Ok(())
}

/// The state, unless it is too early for it.
#[inline]
pub(crate) fn get() -> Option<&'static Khugepaged> {
    STATE.as_ref().map(|state| &**state)
}

/// Whether the current task is the daemon.
#[inline]
pub(crate) fn is_current() -> bool {
    Kthread::<Daemon>::is_current()
}

/// Ends a sleep between rounds, because its length was changed.
#[cfg(CONFIG_SYSFS)]
pub(crate) fn end_sleep() {
    if let Some(state) = get() {
        // Whoever sees this change sees the new length, too.
        state.sleep_changes.fetch_add(1, Release);
        state.wake_up();
    }
}

impl Khugepaged {
    /// Wakes the thread up.
    pub(crate) fn wake_up(&self) {
        self.wait.wake_up_interruptible();
    }

    /// Starts or stops the thread, according to whether it is wanted, and sets the reserve of free
    /// memory to match.
    pub(crate) fn start_stop(&self) -> Result {
        let mut thread = self.thread.lock();
        if hugepage_enabled() {
            if thread.is_none() {
                *thread = Some(Self::start()?);
            }
            if !self.slots.is_empty() {
                self.wake_up();
            }
        } else {
            // Waits for its end.
            *thread = None;
        }
        set_recommended_min_free_kbytes();
        Ok(())
    }

    fn start() -> Result<Kthread<Daemon>> {
        let cx = CollapseContext::new(Policy::Khugepaged)?;
        Kthread::run(cx).inspect_err(|_| pr_err!("khugepaged: kthread_run(khugepaged) failed\n"))
    }

    /// Sets the reserve of free memory, after the page allocator has changed it, if the thread
    /// runs.
    pub(crate) fn update_min_free_kbytes(&self) {
        let thread = self.thread.lock();
        if hugepage_enabled() && thread.is_some() {
            set_recommended_min_free_kbytes();
        }
    }

    fn has_work(&self) -> bool {
        !self.slots.is_empty() && hugepage_enabled()
    }

    /// One round.
    fn scan(&self, this: &ThisThread, cx: &mut CollapseContext) {
        let limit = tunables::pages_to_scan();
        // A round begins at the start of the list once at most.
        let mut may_start = true;
        let mut may_wait = true;

        // Pages on the way to an LRU list could not be isolated.
        lru::drain_all();

        cx.progress = 0;
        loop {
            cond_resched();
            if this.should_stop() || !hugepage_enabled() {
                break;
            }
            let Some(ticket) = self.slots.begin_scan(may_start) else {
                break;
            };
            may_start &= !ticket.from_start();

            let result = scan_mm(ticket, cx, limit);
            if cx.progress >= limit {
                break;
            }
            if matches!(result, Err(ScanResult::AllocHugePageFail)) {
                // There may be one later. If there is not then either, the round is over.
                if !may_wait {
                    break;
                }
                may_wait = false;
                self.wait
                    .sleep_freezable(msecs_to_jiffies(tunables::alloc_sleep_millisecs()));
            }
        }
    }

    /// Sleeps until the next round.
    fn sleep(&self, this: &ThisThread) {
        // A wait fails if a signal is pending, which a kernel thread ignores.
        let changes = self.sleep_changes.load(Acquire);
        if self.has_work() {
            let time = msecs_to_jiffies(tunables::scan_sleep_millisecs());
            if time == 0 {
                return;
            }
            let _ = self.wait.wait_freezable_timeout(time, || {
                this.should_stop() || self.sleep_changes.load(Relaxed) != changes
            });
        } else if hugepage_enabled() {
            let _ = self
                .wait
                .wait_freezable(|| !self.slots.is_empty() || this.should_stop());
        }
        // Otherwise this thread is about to be stopped.
    }
}

/// The thread.
pub(crate) struct Daemon;

impl ThreadFn for Daemon {
    const NAME: &'static CStr = c"khugepaged";
    type Data = KBox<CollapseContext>;

    fn run(this: &ThisThread, mut cx: KBox<CollapseContext>) {
        let Some(state) = get() else {
            return;
        };
        this.set_freezable();
        this.set_nice(MAX_NICE);

        while !this.should_stop() {
            state.scan(this, &mut cx);
            state.sleep(this);
        }
        state.slots.rewind();
    }
}
