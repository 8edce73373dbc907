// SPDX-License-Identifier: GPL-2.0
/* Which shared memory and files khugepaged collapses: mount options, sysfs, advice (class 51). */
#include "harness.h"

struct policy {
	const char *global;	/* shmem_enabled */
	const char *size;	/* that of the PMD size: for what has no name */
	const char *mount;	/* huge= of the tmpfs */
	bool plain, advised;	/* collapsed without and with MADV_HUGEPAGE */
};

static const struct policy tmpfs[] = {
	{ "never", "inherit", "never", false, false },
	{ "never", "never", "advise", false, true },
	{ "never", "never", "within_size", true, true },
	{ "never", "never", "always", true, true },
	{ "always", "always", "never", false, false },
	{ "advise", "always", "advise", false, true },
	{ "force", "inherit", "never", true, true },
	{ "deny", "inherit", "always", false, false },
};

/* What has no name, a memfd included: the kernel's own mount and the size decide. */
static const struct policy anon[] = {
	{ "never", "inherit", NULL, false, false },
	{ "never", "never", NULL, false, false },
	{ "never", "advise", NULL, false, true },
	{ "never", "within_size", NULL, true, true },
	{ "never", "always", NULL, true, true },
	{ "advise", "inherit", NULL, false, true },
	{ "advise", "never", NULL, false, false },
	{ "always", "inherit", NULL, true, true },
	{ "always", "never", NULL, false, false },
	{ "always", "advise", NULL, false, true },
	{ "within_size", "inherit", NULL, true, true },
	{ "force", "inherit", NULL, true, true },
	{ "deny", "always", NULL, false, false },
};

/* A disk's files follow "enabled", here in the place of shmem_enabled, and not what its size has. */
static const struct policy disk[] = {
	{ "never", "madvise", NULL, false, false },
	{ "never", "always", NULL, false, false },
	{ "madvise", "inherit", NULL, false, true },
	{ "always", "madvise", NULL, true, true },
};

FIXTURE(policy) {
};

FIXTURE_VARIANT(policy) {
	enum file_kind kind;
	const struct policy *table;
	size_t nr;
};

#define TABLE(t) .table = t, .nr = sizeof(t) / sizeof(t[0])
FIXTURE_VARIANT_ADD(policy, memfd) { .kind = MEMFD, TABLE(anon) };
FIXTURE_VARIANT_ADD(policy, tmpfs) { .kind = TMPFS_FILE, TABLE(tmpfs) };
FIXTURE_VARIANT_ADD(policy, shared_anon) { .kind = SHARED_ANON, TABLE(anon) };
FIXTURE_VARIANT_ADD(policy, ext4) { .kind = EXT4_FILE, TABLE(disk) };
FIXTURE_VARIANT_ADD(policy, xfs) { .kind = XFS_FILE, TABLE(disk) };

FIXTURE_SETUP(policy)
{
	const char *missing = file_kind_missing(variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
}

FIXTURE_TEARDOWN(policy)
{
}

/* A file of small pages, then the policy, then two passes: collapsed, or not. */
static bool collapsed_by_daemon(enum file_kind kind, const struct policy *p, bool advised)
{
	char path[64], mount[32];
	struct filemap f;
	char *anchor;
	bool huge;
	int err;

	knobs_baseline();
	snprintf(mount, sizeof(mount), "huge=%s", p->mount ?: "never");
	file_tmpfs_options = mount;
	/* Something to scan, whatever becomes of the file. */
	anchor = region_map_used(1);
	madvise(anchor, pmd_size, MADV_HUGEPAGE);
	/* Until it is filled, no huge pages at all. */
	knob_set("shmem_enabled", "deny");
	file_setup(&f, kind, 1, 1);
	snprintf(path, sizeof(path), "%s/%senabled", thp_size_dir(), file_on_disk(kind) ? "" : "shmem_");
	knob_set(path, p->size);
	knob_set(file_on_disk(kind) ? "enabled" : "shmem_enabled", p->global);
	if (advised)
		madvise(f.mem, f.len, MADV_HUGEPAGE);
	khugepaged_fast();
	err = khugepaged_passes(2, LONG_MS);
	khugepaged_idle();
	file_touch(f.mem, f.len);
	huge = count_huge(0, f.mem, f.len);
	if (err)
		die("khugepaged does not scan: %s", strerror(-err));
	if (file_verify_all(&f, f.mem, 1))
		die("content is lost");
	file_close(&f);
	region_unmap(anchor, 1);
	return huge;
}

TEST_F_TIMEOUT(policy, khugepaged, 300)
{
	size_t i;

	for (i = 0; i < variant->nr; i++) {
		const struct policy *p = &variant->table[i];

		EXPECT_EQ(p->plain, collapsed_by_daemon(variant->kind, p, false))
			TH_LOG("enabled=%s size=%s mount=%s", p->global, p->size, p->mount);
		EXPECT_EQ(p->advised, collapsed_by_daemon(variant->kind, p, true))
			TH_LOG("advised, enabled=%s size=%s mount=%s", p->global, p->size, p->mount);
	}
}

COLLAPSE_HARNESS_MAIN
