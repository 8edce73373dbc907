/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for the Rust khugepaged, on top of
 * rust/bindings/bindings_helper.h.
 */

#include <linux/backing-dev.h>
#include <linux/folio_batch.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/huge_mm.h>
#include <linux/khugepaged.h>
#include <linux/memcontrol.h>
#include <linux/mman.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/nodemask.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/topology.h>
#include <linux/vmstat.h>
#include <linux/xarray.h>
#include <trace/events/huge_memory.h>

#include "bindings_daemon.h"
#include "mm_private.h"
#include "scan_result.h"

const unsigned int RUST_CONST_HELPER_COLLAPSE_PMD_ORDER = HPAGE_PMD_ORDER;
const unsigned long RUST_CONST_HELPER_COLLAPSE_PMD_SIZE = HPAGE_PMD_SIZE;
const unsigned int RUST_CONST_HELPER_COLLAPSE_MAX_NUMNODES = MAX_NUMNODES;
const unsigned long RUST_CONST_HELPER_COLLAPSE_ORDERS_ALL_ANON = THP_ORDERS_ALL_ANON;
const vm_flags_t RUST_CONST_HELPER_COLLAPSE_VM_DROPPABLE = VM_DROPPABLE;
const gfp_t RUST_CONST_HELPER_COLLAPSE_GFP_TRANSHUGE = GFP_TRANSHUGE;
const gfp_t RUST_CONST_HELPER_COLLAPSE_GFP_TRANSHUGE_LIGHT = GFP_TRANSHUGE_LIGHT;
const gfp_t RUST_CONST_HELPER_COLLAPSE_GFP_RETRY_MAYFAIL = __GFP_RETRY_MAYFAIL;
const gfp_t RUST_CONST_HELPER_COLLAPSE_GFP_NOFS = GFP_NOFS;
const unsigned long RUST_CONST_HELPER_COLLAPSE_LRU_OFFSET = offsetof(struct folio, lru);
const unsigned int RUST_CONST_HELPER_COLLAPSE_FAULT_ERROR = VM_FAULT_ERROR;
const unsigned long RUST_CONST_HELPER_COLLAPSE_XA_CHUNK_SIZE = XA_CHUNK_SIZE;
const unsigned int RUST_CONST_HELPER_COLLAPSE_XA_CHUNK_SHIFT = XA_CHUNK_SHIFT;
