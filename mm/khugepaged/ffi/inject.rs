// SPDX-License-Identifier: GPL-2.0

//! The fault attribute of `helpers.c`.

use kernel::bindings;

/// Whether the fault attribute says that `step` fails now.
#[inline]
pub(crate) fn should_fail(step: u32) -> bool {
    // SAFETY: May be called in any context.
    unsafe { bindings::khugepaged_should_fail(step) }
}
