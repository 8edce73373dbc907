// SPDX-License-Identifier: GPL-2.0
/* What the page cache may look like before: holes, swap, missing, large, dirty, huge already. */
#include <sys/syscall.h>

#include "filekinds.h"

#define NR 2
#define PAGES (F->len / page_size)

#define SKIP_DISK() do {						\
	if (ON_DISK)							\
		SKIP(return, "shared memory only");			\
} while (0)

#define SKIP_SHMEM() do {						\
	if (!ON_DISK)							\
		SKIP(return, "files on a disk only");			\
} while (0)

/* Pages of the pattern where @expr is true for page n, and zeros elsewhere. */
#define EXPECT_WHERE(expr) do {						\
	size_t n;							\
	for (n = 0; n < PAGES; n++) {					\
		ASSERT_EQ(0, file_verify(MEM + n * page_size, n * page_size, page_size, (expr) ? 1 : 0)) \
			TH_LOG("page %zu", n);				\
	}								\
} while (0)

/* They are charged, counted and zero. */
TEST_F(kind, holes)
{
	const size_t steps[] = { 2, 7, pmd_pages - 1, pmd_pages };
	size_t i, holes;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		file_create(F, variant->kind, NR);
		file_fill(F, steps[i], 1);
		if (variant->kind == MEMFD_SEALED || !F->mem)
			F->mem = file_map(F, file_may_write(variant->kind) ? PROT_READ | PROT_WRITE :
					  PROT_READ, MAP_SHARED);
		if (ON_DISK)
			ASSERT_EQ(0, fsync(F->fd));
		FILE_LOOK();
		holes = PAGES - (PAGES + steps[i] - 1) / steps[i];
		EXPECT_EQ(0, collapse_settled(MEM, F->len));
		EXPECT_EQ(NR, count_huge(0, MEM, F->len));
		EXPECT_WHERE(n % steps[i] == 0);
		EXPECT_ALLOCATED(NR);
		if (!ON_DISK) {
			struct file_stat d = {
				.pages = holes, .shmem = holes, .shmem_thp = NR, .shmem_mapped = NR,
			};

			EXPECT_EQ(0, file_stat_check(&self->before, &d));
		}
		file_close(F);
	}
}

/* The daemon fills as many as max_ptes_none allows for. */
TEST_F(kind, holes_khugepaged)
{
	SKIP_DISK();
	file_create(F, variant->kind, NR);
	file_fill(F, 2, 1);
	if (!F->mem)
		F->mem = file_map(F, PROT_READ, MAP_SHARED);
	FILE_LOOK();
	knob_set_num("khugepaged/max_ptes_none", pmd_pages / 2 - 1);
	file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	EXPECT_EQ(self->alloc, vmstat("thp_collapse_alloc"));
	knob_set_num("khugepaged/max_ptes_none", pmd_pages / 2);
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, NR, LONG_MS));
	khugepaged_idle();
	DAEMON_MAY_RETRY();
	EXPECT_ALLOCATED(NR);
	EXPECT_WHERE(n % 2 == 0);
}

/* fallocate() makes pages that nobody has written: they become zeros. */
TEST_F(kind, fallocated)
{
	if (variant->kind == SHARED_ANON || variant->kind == SYSV_SHM)
		SKIP(return, "no descriptor");
	file_create(F, variant->kind, NR);
	ASSERT_EQ(0, fallocate(F->fd, 0, 0, F->len));
	file_write(F, 0, 16 * page_size, 1);
	file_write(F, F->len - page_size, page_size, 1);
	if (ON_DISK)
		ASSERT_EQ(0, fsync(F->fd));
	/* Not touched: a touch would make zeros of them. */
	MEM = file_map(F, PROT_READ, MAP_SHARED);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_WHERE(n < 16 || n == PAGES - 1);
}

/* Class 33: it succeeds at once, not only when the LRU caches are drained. */
TEST_F(kind, swapped_out)
{
	size_t n;
	int tries;

	SKIP_DISK();
	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	FILE_SETUP(NR);
	ASSERT_EQ(0, page_out_gone(MEM, F->len));
	/* A few come back, so that both sorts are there. */
	for (n = 0; n < PAGES; n += 50)
		(void)*(volatile char *)(MEM + n * page_size);
	/* At once, unless the machine is busy, so that what is written out has not been let go yet. */
	for (tries = 1; tries < 30; tries++) {
		int err = collapse(MEM, F->len);

		if (!err)
			break;
		TH_LOG("try %d: %s", tries, strerror(-err));
		usleep(tries > 2 ? 20000 : 0);
	}
	EXPECT_GT(30, tries) TH_LOG("does not succeed after swap-in");
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

TEST_F(kind, swapped_out_khugepaged)
{
	SKIP_DISK();
	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	FILE_SETUP(1);
	ASSERT_EQ(0, page_out_gone(MEM, 20 * page_size));
	knob_set_num("khugepaged/max_ptes_swap", 0);
	file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	EXPECT_EQ(self->alloc, vmstat("thp_collapse_alloc"));
	knob_set_num("khugepaged/max_ptes_swap", 64);
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	khugepaged_idle();
	/* A page that has just come back may need another try. */
	EXPECT_LE(self->alloc + 1, vmstat("thp_collapse_alloc"));
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, 1, LONG_MS));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/*
 * A huge page in swap is one entry, and the file is cut in the middle of it. Linux 7.3 without hooks/0005 does not come
 * back from that, and cannot be killed.
 */
TEST_F(kind, truncated_in_swap)
{
	const size_t cuts[] = { pmd_size / 2, page_size, pmd_size - page_size, pmd_size / 4 + page_size / 2, pmd_size + page_size };
	size_t i;

	if (variant->kind != MEMFD && variant->kind != TMPFS_FILE)
		SKIP(return, "cannot be made shorter, or is not in swap");
	if (!getenv("SWAP_CUT"))
		SKIP(return, "Linux 7.3 may hang here for ever: SWAP_CUT=1 runs it all the same");
	ASSERT_TRUE(swap_active()) TH_LOG("no swap: boot with zram");
	for (i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		FILE_SETUP(NR);
		ASSERT_EQ(0, collapse_settled(MEM, F->len));
		ASSERT_EQ(0, page_out_gone(MEM, F->len));
		ASSERT_EQ(0, ftruncate(F->fd, cuts[i]));
		EXPECT_EQ(0, file_verify(MEM, 0, cuts[i] / page_size * page_size, 1));
		/* What was cut off does not come back. */
		ASSERT_EQ(0, ftruncate(F->fd, F->len));
		EXPECT_EQ(0, verify_zero(MEM + (cuts[i] + page_size - 1) / page_size * page_size,
					 F->len - (cuts[i] + page_size - 1) / page_size * page_size));
		EXPECT_EQ(0, collapse_settled(MEM, F->len));
		EXPECT_EQ(0, file_verify(MEM, 0, cuts[i] / page_size * page_size, 1));
		file_close(F);
	}
}

/* What is not in the page cache is read from the disk. */
TEST_F(kind, not_cached)
{
	size_t n;

	SKIP_SHMEM();
	FILE_SETUP(NR);
	ASSERT_EQ(0, file_drop(F));
	MEM = file_map(F, PROT_READ | PROT_WRITE, MAP_SHARED);
	/* Some of it comes back, by single pages. */
	posix_fadvise(F->fd, 0, 0, POSIX_FADV_RANDOM);
	for (n = 3; n < PAGES; n += 60) {
		char c;

		ASSERT_EQ(1, pread(F->fd, &c, 1, n * page_size));
	}
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_EQ(0, file_reread(F, 1));
}

/* Nothing cached at all: read-ahead may even bring a huge page by itself. */
TEST_F(kind, nothing_cached)
{
	SKIP_SHMEM();
	FILE_SETUP(NR);
	ASSERT_EQ(0, file_drop(F));
	MEM = file_map(F, PROT_READ, MAP_SHARED);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

/*
 * Writes of 1, 1, 2, 4, ... pages, which fill a PMD: each makes a folio of its
 * size, if that is allowed.
 */
static void write_growing(struct filemap *f)
{
	static const unsigned int pages[] = { 1, 1, 2, 4, 8, 16, 32, 64, 128, 256 };
	size_t off = 0, i;

	while (off < f->len)
		for (i = 0; i < 10; off += pages[i++] * page_size)
			file_write(f, off, pages[i] * page_size, 1);
}

/* Shared anonymous memory gets its folios by faults, of the sizes sysfs allows for. */
static void store_by_sizes(struct filemap *f)
{
	static const char * const sizes[] = { "64", "16", NULL, "1024" };
	size_t part = f->len / 4, i;
	char path[64];

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "hugepages-%skB/shmem_enabled", sizes[i] ?: "64");
		knob_set(path, sizes[i] ? "always" : "never");
		file_write(f, i * part, part, 1);
		knob_set(path, "never");
	}
}

TEST_F(kind, mixed_orders)
{
	if (variant->kind == SYSV_SHM)
		SKIP(return, "all its folios are small or huge");
	if (variant->kind == TMPFS_FILE)
		SKIP(return, "as a memfd");
	file_create(F, variant->kind, NR);
	if (variant->kind == SHARED_ANON) {
		store_by_sizes(F);
	} else {
		/* What is within the size depends on how far it was written. */
		if (!ON_DISK) {
			knob_set("shmem_enabled", "within_size");
			ASSERT_EQ(0, ftruncate(F->fd, 0));
		}
		write_growing(F);
		knob_set("shmem_enabled", "never");
	}
	file_settle(F);
	FILE_LOOK();
	ASSERT_EQ(0, count_huge(0, MEM, F->len));
	TH_LOG("%zu of %zu pages are in large folios", count_thp_pages(0, MEM, F->len), PAGES);
	ASSERT_LT(PAGES / 3, count_thp_pages(0, MEM, F->len)) TH_LOG("there are no large folios");
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_reread(F, 1));
}

/* Dirty pages: written back once, and then it succeeds. */
TEST_F(kind, dirty)
{
	long written;

	SKIP_SHMEM();
	FILE_SETUP(NR);
	file_fill(F, 1, 2);
	written = vmstat("nr_written");
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	knob_try("/proc/sys/vm/stat_refresh", "1");
	EXPECT_LE(written + (long)PAGES, vmstat("nr_written"));
	EXPECT_EQ(0, file_verify_all(F, MEM, 2));
	EXPECT_EQ(0, smaps_kb(0, MEM, F->len, "Private_Dirty"));
	EXPECT_EQ(0, smaps_kb(0, MEM, F->len, "Shared_Dirty"));
	EXPECT_EQ(0, file_reread(F, 2));
}

/* Dirty by stores: only the PTE knows, until it is taken down. */
TEST_F(kind, dirty_by_stores)
{
	SKIP_SHMEM();
	FILE_SETUP(NR);
	file_store(MEM, 0, F->len, 2);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_EQ(0, file_verify_all(F, MEM, 2));
	/* Once more through the huge page. */
	file_store(MEM, 0, F->len, 3);
	EXPECT_EQ(0, file_verify_all(F, MEM, 3));
	EXPECT_EQ(0, file_reread(F, 3));
}

/* The daemon passes over dirty files, and comes back when they are clean. */
/* What was written by somebody who has gone is written back for its sake: nothing else would do that here. */
TEST_F(kind, written_and_closed)
{
	char path[64];
	int fd;

	SKIP_SHMEM();
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	FILE_SETUP(NR);
	file_fill(F, 1, 2);
	munmap(MEM, F->len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", F->fd);
	fd = open(path, O_RDONLY);
	ASSERT_LE(0, fd);
	close(F->fd);
	F->fd = fd;
	MEM = file_map(F, PROT_READ, MAP_SHARED);
	file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, NR, LONG_MS));
	khugepaged_idle();
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "500");
	EXPECT_EQ(0, file_verify_all(F, MEM, 2));
	EXPECT_EQ(0, file_reread(F, 2));
}

TEST_F(kind, dirty_khugepaged)
{
	SKIP_SHMEM();
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "0");
	FILE_SETUP(NR);
	file_fill(F, 1, 2);
	file_advise(F);
	khugepaged_fast();
	EXPECT_EQ(0, khugepaged_passes(3, LONG_MS));
	file_touch(MEM, F->len);
	/* A file that is open for writing is not written back for its sake. */
	EXPECT_EQ(0, count_huge(0, MEM, F->len));
	ASSERT_EQ(0, fsync(F->fd));
	EXPECT_EQ(0, file_wait_huge(MEM, F->len, NR, LONG_MS));
	khugepaged_idle();
	knob_set("/proc/sys/vm/dirty_writeback_centisecs", "500");
	EXPECT_EQ(0, file_verify_all(F, MEM, 2));
	EXPECT_EQ(0, file_reread(F, 2));
}

/* There is a huge page in the cache already: mapped, not made. */
TEST_F(kind, huge_in_cache)
{
	char *second;

	FILE_SETUP(NR);
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	second = file_map(F, PROT_READ, MAP_SHARED);
	/* Never touched: there is not even a table to put it into. */
	EXPECT_EQ(0, count_huge(0, second, F->len));
	EXPECT_EQ(0, collapse(second, F->len));
	EXPECT_EQ(NR, count_huge(0, second, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, second, 1));
	region_unmap(second, NR);
	EXPECT_CHANGE(NR, NR, NR);
}

/* Nobody has any of it mapped, the door's mapping is fresh. */
TEST_F(kind, never_mapped)
{
	if (variant->kind == SHARED_ANON || variant->kind == SYSV_SHM)
		SKIP(return, "no descriptor");
	file_create(F, variant->kind, NR);
	file_fill(F, 1, 1);
	if (ON_DISK)
		ASSERT_EQ(0, fsync(F->fd));
	MEM = file_map(F, PROT_READ, MAP_SHARED);
	FILE_LOOK();
	EXPECT_EQ(0, collapse_settled(MEM, F->len));
	EXPECT_EQ(NR, count_huge(0, MEM, F->len));
	EXPECT_CHANGE(NR, NR, NR);
	EXPECT_EQ(0, file_verify_all(F, MEM, 1));
}

static int node_of(char *addr)
{
	void *page = addr;
	int status = -1;

	syscall(__NR_move_pages, 0, 1ul, &page, NULL, &status, 0);
	return status;
}

static void prefer_node(int node)
{
	unsigned long mask = 1ul << node;

	if (syscall(__NR_set_mempolicy, 2 /* MPOL_BIND */, &mask, 8 * sizeof(mask)))
		die("set_mempolicy: %s", strerror(errno));
}

/* The huge page is made where most of the small ones are. */
TEST_F(kind, node)
{
	size_t n, few = pmd_pages / 4;
	int node, many;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one memory node only");
	for (many = 0; many < 2; many++) {
		file_create(F, variant->kind, 1);
		for (n = 0; n < pmd_pages; n++) {
			prefer_node(n < few ? !many : many);
			file_write(F, n * page_size, page_size, 1);
		}
		if (syscall(__NR_set_mempolicy, 0, NULL, 0))
			die("set_mempolicy: %s", strerror(errno));
		file_settle(F);
		node = node_of(MEM);
		ASSERT_EQ(!many, node);
		ASSERT_EQ(many, node_of(MEM + few * page_size));
		EXPECT_EQ(0, collapse_settled(MEM, F->len));
		EXPECT_EQ(1, count_huge(0, MEM, F->len));
		EXPECT_EQ(many, node_of(MEM));
		EXPECT_EQ(0, file_verify_all(F, MEM, 1));
		file_close(F);
	}
}

int main(int argc, char **argv)
{
	return harness_run_swapping(argc, argv, 64);
}
