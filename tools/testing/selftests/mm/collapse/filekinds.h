/* SPDX-License-Identifier: GPL-2.0 */
/* A fixture with one variant for each kind of file; included once by a test program. */
#ifndef COLLAPSE_FILEKINDS_H
#define COLLAPSE_FILEKINDS_H

#include <fcntl.h>

#include "harness.h"

FIXTURE(kind) {
	struct filemap f;
	struct file_stat before;
	long alloc;
	unsigned long retries;
	long scans;
};

FIXTURE_VARIANT(kind) {
	enum file_kind kind;
};

#define FILE_KIND(name_, kind_) FIXTURE_VARIANT_ADD(kind, name_) { .kind = kind_ }

FILE_KIND(memfd, MEMFD);
FILE_KIND(memfd_sealed, MEMFD_SEALED);
FILE_KIND(memfd_future_sealed, MEMFD_FUTURE_SEALED);
FILE_KIND(tmpfs, TMPFS_FILE);
FILE_KIND(shared_anon, SHARED_ANON);
FILE_KIND(sysv, SYSV_SHM);
FILE_KIND(ext4, EXT4_FILE);
FILE_KIND(xfs, XFS_FILE);

FIXTURE_SETUP(kind)
{
	const char *missing = file_kind_missing(variant->kind);

	if (missing)
		SKIP(return, "%s", missing);
	knobs_baseline();
	/* It may still be at what the test before this one had allowed. */
	ASSERT_EQ(0, khugepaged_wait_asleep(LONG_MS));
	file_stat_read(&self->before);
}

FIXTURE_TEARDOWN(kind)
{
}

#define F (&self->f)
#define MEM (self->f.mem)
#define ON_DISK file_on_disk(variant->kind)

/* @nr_ PMDs of small pages of version 1, and the counters of that state. */
#define FILE_SETUP(nr_) do {						\
	file_setup(F, variant->kind, nr_, 1);				\
	FILE_LOOK();							\
} while (0)

#define FILE_LOOK() do {						\
	file_stat_read(&self->before);					\
	self->alloc = vmstat("thp_collapse_alloc");			\
	self->retries = collapse_retries;				\
	self->scans = full_scans();					\
} while (0)

/* Since then; each time that collapse_settled() tried again may have cost some more. */
#define EXPECT_ALLOCATED(alloc_) do {					\
	long got_ = vmstat("thp_collapse_alloc") - self->alloc;		\
	long again_ = collapse_retries - self->retries;			\
	EXPECT_LE((long)(alloc_), got_);				\
	EXPECT_GE((long)(alloc_) + again_ * (long)F->nr_pmds, got_);	\
} while (0)

/* The daemon may find a page in use for a moment, too, and come back with each pass, of which it has begun one more. */
#define DAEMON_MAY_RETRY() (self->retries -= full_scans() + 1 - self->scans)

/* Since then: huge pages in the cache, those that a PMD maps, those allocated. */
#define EXPECT_CHANGE(thp_, mapped_, alloc_) do {			\
	struct file_stat d_ = {						\
		.shmem_thp = ON_DISK ? 0 : (thp_),			\
		.file_thp = ON_DISK ? (thp_) : 0,			\
		.shmem_mapped = ON_DISK ? 0 : (mapped_),		\
		.file_mapped = ON_DISK ? (mapped_) : 0,			\
	};								\
	EXPECT_EQ(0, file_stat_check(&self->before, &d_));		\
	EXPECT_ALLOCATED(alloc_);					\
} while (0)

#endif /* COLLAPSE_FILEKINDS_H */
