// SPDX-License-Identifier: GPL-2.0

//! Where C calls in, and the few calls out that have no abstraction: the only unsafe code of the
//! crate.

use kernel::pr_warn_once;

mod daemon;
pub(crate) mod group;
#[cfg(CONFIG_KHUGEPAGED_RUST_FAULT_INJECTION)]
pub(crate) mod inject;
mod madvise;
pub(crate) mod trace;

/// Says once what is made of a value of `max_ptes_none` that regions below the PMD order cannot have.
#[cold]
pub(crate) fn warn_of_max_ptes_none(max: u32) {
    pr_warn_once!(
        "mTHP collapse does not support max_ptes_none values other than 0 or {}, defaulting to 0.\n",
        max
    );
}
