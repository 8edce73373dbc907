// SPDX-License-Identifier: GPL-2.0

#include <linux/freezer.h>
#include <linux/huge_mm.h>
#include <linux/kstrtox.h>
#include <linux/mm.h>
#include <linux/pageblock-flags.h>
#include <linux/sched.h>
#include <linux/shmem_fs.h>

__rust_helper int rust_helper_mm_users_read(const struct mm_struct *mm)
{
	return atomic_read(&mm->mm_users);
}

__rust_helper bool rust_helper_mm_flags_test_and_set(int flag, struct mm_struct *mm)
{
	return mm_flags_test_and_set(flag, mm);
}

__rust_helper void rust_helper_mm_flags_clear(int flag, struct mm_struct *mm)
{
	mm_flags_clear(flag, mm);
}

__rust_helper bool rust_helper_hugepage_global_enabled(void)
{
	return hugepage_global_enabled();
}

__rust_helper bool rust_helper_shmem_hpage_pmd_enabled(void)
{
	return shmem_hpage_pmd_enabled();
}

__rust_helper unsigned long rust_helper_pageblock_nr_pages(void)
{
	return pageblock_nr_pages;
}

__rust_helper int rust_helper_kstrtoul(const char *s, unsigned int base, unsigned long *res)
{
	return kstrtoul(s, base, res);
}

__rust_helper int rust_helper_cond_resched(void)
{
	return cond_resched();
}

#ifndef CONFIG_FREEZER
__rust_helper void rust_helper_set_freezable(void)
{
	set_freezable();
}
#endif
