// SPDX-License-Identifier: GPL-2.0

//! The global switches of transparent huge pages.
//!
//! They are owned by huge_memory.c and shmem.c, which call `start_stop_khugepaged()` after each
//! change, so reading them without a lock is enough.
//!
//! Locks: none.
//! Context: any.
//! Units: orders as bits.
//!
//! C header: [`include/linux/huge_mm.h`](srctree/include/linux/huge_mm.h)

use crate::bindings;
#[cfg(CONFIG_SYSFS)]
use crate::{
    error::{
        Error,
        Result, //
    },
    sysfs::{
        Emitted,
        Input,
        Output, //
    },
};

/// Reads one of the masks of orders, as `READ_ONCE()` does.
macro_rules! read_orders {
    ($name:ident) => {
        // SAFETY: The mask is an aligned word, and C code only ever writes it as a whole or by
        // atomic bit operations.
        unsafe { (&raw const bindings::$name).read_volatile() }
    };
}

/// Whether some kind of memory may get huge pages at all, that is, whether khugepaged should run.
///
/// Three switches count: the global one, which is also that of files; the ones per size of
/// anonymous memory; and shmem's for the PMD size.
///
/// C: `hugepage_enabled()`.
pub fn hugepage_enabled() -> bool {
    // SAFETY: Only reads a word of flags.
    let global = unsafe { bindings::hugepage_global_enabled() };
    global
        || read_orders!(huge_anon_orders_always) != 0
        || read_orders!(huge_anon_orders_madvise) != 0
        // Sizes that inherit the global switch do not count here: it is off.
        //
        // SAFETY: Only reads masks of orders.
        || unsafe { bindings::shmem_hpage_pmd_enabled() }
}

/// Whether khugepaged may reclaim and compact for a huge page.
///
/// C: `khugepaged_defrag()`.
#[inline]
pub fn khugepaged_defrag() -> bool {
    let bit = bindings::transparent_hugepage_flag_TRANSPARENT_HUGEPAGE_DEFRAG_KHUGEPAGED_FLAG;
    // SAFETY: An aligned word that C writes by atomic bit operations only.
    let flags = unsafe { (&raw const bindings::transparent_hugepage_flags).read_volatile() };
    flags & (1 << bit) != 0
}

/// A bit of `transparent_hugepage_flags` that is a file of sysfs.
#[cfg(CONFIG_SYSFS)]
pub struct Flag(bindings::transparent_hugepage_flag);

#[cfg(CONFIG_SYSFS)]
impl Flag {
    /// Whether khugepaged may reclaim and compact to get a huge page.
    pub const DEFRAG_KHUGEPAGED: Self =
        Self(bindings::transparent_hugepage_flag_TRANSPARENT_HUGEPAGE_DEFRAG_KHUGEPAGED_FLAG);

    /// Answers a read.
    pub fn show(&self, out: Output<'_>) -> Result<Emitted> {
        // SAFETY: By the invariant of `Output` these are the arguments of a callback.
        let len =
            unsafe { bindings::single_hugepage_flag_show(out.kobj, out.attr, out.buf, self.0) };
        checked(len).map(Emitted)
    }

    /// Takes a write.
    pub fn store(&self, input: &Input<'_>) -> Result {
        // SAFETY: By the invariant of `Input` these are the arguments of a callback.
        let len = unsafe {
            bindings::single_hugepage_flag_store(
                input.kobj,
                input.attr,
                input.buf,
                input.count,
                self.0,
            )
        };
        checked(len).map(drop)
    }
}

#[cfg(CONFIG_SYSFS)]
fn checked(len: isize) -> Result<isize> {
    if len < 0 {
        // CAST: An errno fits.
        return Err(Error::from_errno(len as i32));
    }
    Ok(len)
}
