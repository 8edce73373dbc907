// SPDX-License-Identifier: GPL-2.0

//! Which VMAs may have small leaves, and when.

#![forbid(unsafe_code)]

use kernel::{
    bindings,
    mm::{
        hugetlb::{
            has_lock,
            is_hugetlb,
            is_hugetlb_of_pmds,
            HgmVma, //
        },
        virt::{
            flags,
            vm_flags_t, //
        },
        vma::Vma, //
    },
    prelude::*, //
};

/// What a userfaultfd that is about to be registered asks for.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// The modes, as flags of a VMA.
    pub(crate) modes: vm_flags_t,
    /// Whether it has `UFFD_FEATURE_MINOR_HUGETLBFS_HGM`.
    pub(crate) feature: bool,
}

impl Request {
    #[inline]
    fn asks_for(self, modes: usize) -> bool {
        self.modes & modes as vm_flags_t != 0
    }

    /// Whether a VMA it is registered with will have small leaves from then on.
    #[inline]
    pub(crate) fn enables(self, vma: &Vma) -> bool {
        self.feature && self.asks_for(bindings::HGM_VM_UFFD_MINOR) && is_hugetlb(vma)
    }

    /// Whether the VMA may be registered, as far as small leaves are concerned. Protection by a userfaultfd
    /// and small leaves do not go together yet: it would have to be remembered where there is no leaf.
    pub(crate) fn check(self, vma: &Vma) -> Result {
        let enables = self.enables(vma);
        if !enables && HgmVma::of(vma).is_none() {
            return Ok(());
        }
        let modes = bindings::HGM_VM_UFFD_PROTECT;
        if self.asks_for(modes) || vma.flags() & modes as vm_flags_t != 0 {
            return Err(EINVAL);
        }
        if enables && (vma.flags() & flags::MAYSHARE == 0 || !is_hugetlb_of_pmds(vma)) {
            return Err(EINVAL);
        }
        // Without it no table could ever be freed.
        if enables && !has_lock(vma) {
            return Err(ENOMEM);
        }
        Ok(())
    }
}
