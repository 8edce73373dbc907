// SPDX-License-Identifier: GPL-2.0

//! Making a step of a collapse fail, for tests of the rollback.
//!
//! The fault attribute is `fail_collapse` in debugfs; its file `step` selects the step by number, 0
//! stands for any. Without CONFIG_KHUGEPAGED_RUST_FAULT_INJECTION nothing of it is compiled.

#![forbid(unsafe_code)]

/// The steps that can be made to fail. The numbers are those of the file `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Step {
    /// Getting a folio.
    Allocate = 1,
    /// Charging it.
    Charge = 2,
    /// Bringing pages back from swap.
    SwapIn = 3,
    /// Locking a source folio.
    IsolateLock = 4,
    /// Making sure that nobody refers to it.
    IsolatePin = 5,
    /// Taking it off the LRU.
    IsolateLru = 6,
    /// Copying a page.
    Copy = 7,
    /// Finding the VMA unchanged after the mmap lock was dropped.
    Revalidate = 8,
    /// Reading a page of a file.
    ReadIn = 9,
    /// Having the file system give up private data of a page.
    Release = 10,
    /// Reserving room for the holes of shmem.
    ReserveHoles = 11,
    /// Storing entries in the page cache.
    Install = 12,
}

/// Whether the step is to fail now.
#[inline(always)]
pub(crate) fn fails(step: Step) -> bool {
    #[cfg(CONFIG_KHUGEPAGED_RUST_FAULT_INJECTION)]
    return crate::ffi::inject::should_fail(step as u32);
    #[cfg(not(CONFIG_KHUGEPAGED_RUST_FAULT_INJECTION))]
    {
        let _ = step;
        false
    }
}
