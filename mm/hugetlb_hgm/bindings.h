/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for high-granularity mapping, on top of mm/khugepaged/bindings.h. */

#include <linux/hugetlb.h>
#include <linux/hugetlb_hgm.h>
#include <linux/leafops.h>
#include <linux/pagewalk.h>
#include <linux/userfaultfd_k.h>

#include "helpers.h"

const vm_flags_t RUST_CONST_HELPER_HGM_VM_FLAG = VM_HUGETLB_HGM;
const vm_flags_t RUST_CONST_HELPER_HGM_VM_UFFD_MINOR = VM_UFFD_MINOR;
const vm_flags_t RUST_CONST_HELPER_HGM_VM_UFFD_PROTECT = VM_UFFD_WP | VM_UFFD_RWP;
