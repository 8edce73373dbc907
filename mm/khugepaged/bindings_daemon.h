/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads for the daemon's half of the Rust khugepaged. Included by
 * bindings.h.
 */

#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/kthread.h>
#include <linux/mm_types.h>
#include <linux/mmzone.h>
#include <linux/sched.h>
#include <linux/shmem_fs.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "mm_private_daemon.h"
