/* SPDX-License-Identifier: GPL-2.0 */
/* The rest of fuzz_call.h: userfaultfd, the file itself, pins, and how the arena is mapped. */
#ifndef FUZZ_CALL_MORE_H
#define FUZZ_CALL_MORE_H

/* A fault that nobody resolves is a SIGBUS: there is no thread that would resolve it. */
F long f_uffd_open(int async)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM |
			    UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
			    UFFD_FEATURE_MOVE |
			    (async ? UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC : 0),
	};

	f_uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return f_uffd < 0 || ioctl(f_uffd, UFFDIO_API, &api) ? -errno : 0;
}

F long f_register(unsigned int page, unsigned int n, int mode)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)AT(page), n * PAGE }, .mode = mode,
	};

	return result(ioctl(f_uffd, UFFDIO_REGISTER, &reg));
}

F long f_unregister(unsigned int page, unsigned int n)
{
	struct uffdio_range range = { (uintptr_t)AT(page), n * PAGE };

	return result(ioctl(f_uffd, UFFDIO_UNREGISTER, &range));
}

/* Pages done before the error, or the error if there are none. */
F long f_progress(long ret, int64_t bytes)
{
	return bytes > 0 ? bytes / (int64_t)PAGE : result(ret);
}

F long f_copy(unsigned int page, unsigned int n, uint32_t version)
{
	static uint64_t source[8 * WORDS] __attribute__((aligned(4096)));
	struct uffdio_copy copy = {
		.dst = (uintptr_t)AT(page), .src = (uintptr_t)source, .len = n * PAGE,
	};
	unsigned int i;

	for (i = 0; i < n; i++)
		f_page(source + i * WORDS, version + i);
	i = ioctl(f_uffd, UFFDIO_COPY, &copy);
	return f_progress((int)i, copy.copy);
}

F long f_zero(unsigned int page, unsigned int n)
{
	struct uffdio_zeropage zero = { .range = { (uintptr_t)AT(page), n * PAGE } };
	long ret = ioctl(f_uffd, UFFDIO_ZEROPAGE, &zero);

	return f_progress(ret, zero.zeropage);
}

F long f_continue(unsigned int page, unsigned int n)
{
	struct uffdio_continue cont = { .range = { (uintptr_t)AT(page), n * PAGE } };
	long ret = ioctl(f_uffd, UFFDIO_CONTINUE, &cont);

	return f_progress(ret, cont.mapped);
}

F long f_protect_uffd(unsigned int page, unsigned int n, int protect)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)AT(page), n * PAGE },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	f_markers |= protect;
	return result(ioctl(f_uffd, UFFDIO_WRITEPROTECT, &wp));
}

F long f_move_uffd(unsigned int page, unsigned int n, unsigned int to)
{
	struct uffdio_move move = {
		.dst = (uintptr_t)AT(to), .src = (uintptr_t)AT(page), .len = n * PAGE,
	};
	long ret = ioctl(f_uffd, UFFDIO_MOVE, &move);

	return f_progress(ret, move.move);
}

F long f_lock(unsigned int page, unsigned int n)
{
	return result(mlock(AT(page), n * PAGE));
}

F long f_unlock(unsigned int page, unsigned int n)
{
	return result(munlock(AT(page), n * PAGE));
}

F long f_truncate(unsigned int pages)
{
	return result(ftruncate(f_fd, pages * PAGE));
}

F long f_punch(unsigned int off, unsigned int n)
{
	return result(fallocate(f_fd, 3, off * PAGE, n * PAGE));
}

F long f_allocate(unsigned int off, unsigned int n)
{
	return result(fallocate(f_fd, 0, off * PAGE, n * PAGE));
}

F long f_pwrite(unsigned int off, uint32_t version)
{
	uint64_t page[WORDS];

	f_page(page, version);
	return result(pwrite(f_fd, page, PAGE, off * PAGE));
}

/* 1: clear accessed bits; 4: clear soft-dirty bits. */
F long f_clear_refs(int what)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY);
	long ret = result(write(fd, what == 1 ? "1" : "4", 1));

	close(fd);
	return ret;
}

/* One page at a time is pinned, by a pipe. */
F long f_pin_page(unsigned int page)
{
	struct iovec iov = { AT(page), PAGE };

	if (f_pin[0] >= 0)
		return -EBUSY;
	if (pipe(f_pin))
		return -errno;
	return result(vmsplice(f_pin[1], &iov, 1, 0));
}

F long f_unpin(void)
{
	if (f_pin[0] < 0)
		return -EBADF;
	close(f_pin[0]);
	close(f_pin[1]);
	f_pin[0] = f_pin[1] = -1;
	return 0;
}

/* What is mapped in any way; a number of regions. */
F int f_scan(struct page_region *regions, unsigned int max)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = ARENA, .end = ARENA + ARENA_PAGES * PAGE,
		.vec = (uintptr_t)regions, .vec_len = max,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_GUARD |
				       PAGE_IS_WPALLOWED,
		.return_mask = PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_FILE | PAGE_IS_PRESENT |
			       PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_HUGE | PAGE_IS_GUARD |
			       PAGE_IS_SOFT_DIRTY,
	};
	static pid_t owner;
	static int fd = -1;

	/* A descriptor shows the memory of who opened it. */
	if (owner != getpid()) {
		close(fd);
		fd = open("/proc/self/pagemap", O_RDONLY);
		owner = getpid();
	}
	return ioctl(fd, PAGEMAP_SCAN, &arg);
}

/* A line for a call: what it gave, and the arena, as pages and categories of PAGEMAP_SCAN. */
F void f_show(int i, long ret)
{
	static struct page_region regions[ARENA_PAGES];
	int nr = f_scan(regions, ARENA_PAGES), k;

	printf("%d gave %ld:", i, ret);
	for (k = 0; k < nr; k++)
		printf(" %lu-%lu:%llx", (unsigned long)(regions[k].start - ARENA) / PAGE,
		       (unsigned long)(regions[k].end - ARENA) / PAGE, regions[k].categories);
	printf("\n");
	fflush(stdout);
}

#endif /* FUZZ_CALL_MORE_H */
