// SPDX-License-Identifier: GPL-2.0
/*
 * The trace events of huge_memory.h, defined here when mm/khugepaged.c, which
 * defines them otherwise, is not built; ffi/trace.rs calls them.
 */

#include <linux/mm.h>

#include "scan_result.h"

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/huge_memory.h>
